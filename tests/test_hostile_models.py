"""Models and training states from strangers: refused, quickly, in little memory, running nothing.

Each file is read in a child process that may take 1.5 GB of memory and 20 s, and prints how it
ended. Files that torch or safetensors would let through are made by hand.
"""

import contextlib
import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from sedtool.checkpoint import digest, load_model, load_state, save_model, save_state
from sedtool.errors import ArtifactError
from support.models import new_model

pytestmark = pytest.mark.slow

MEMORY = 1.5e9  # bytes beyond what Python and torch map when they start
SECONDS = 20.0

# Models. A change of the header of a good one, or the bytes of a file.


def put(*keys, value):
    """Return a change that sets a value deep in a header."""

    def change(header):
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


def drop(key):
    return lambda header: header.pop(key)


DEEP = "[" * 200_000 + "]" * 200_000
HUGE = 10**9

HEADERS: dict[str, Callable[[dict], object]] = {
    **{f"no {key}": drop(key) for key in ("format", "classes", "features", "architecture")},
    **{f"no {key} ": drop(key) for key in ("pooling", "decoding", "window", "weights_sha256")},
    **{
        f"{key} is {value!r}": put(key, value=value)
        for key in ("format_version", "classes", "features", "architecture", "pooling", "decoding")
        for value in (None, "x", {}, [[]])
    },
    **{
        f"{key} is {value}": put(key, value=value)
        for key in ("window", "trained", "tuned")
        for value in (None, [1], float("nan"), 1e308)
    },
    **{
        f"others are {value!r}"[:60]: put("others", value=value)
        for value in (None, "x", {"a": 1}, [[]], [{}], [{"architecture": {}, "pooling": {}}])
    },
    "another network without its weights": lambda h: h.update(others=[dict(h)]),
    "a hundred thousand networks": lambda h: h.update(others=[{}] * 100_000),
    "gru units": put("architecture", "gru_units", value=HUGE),
    "gru layers": put("architecture", "gru_layers", value=HUGE),
    "gru layers below none": put("architecture", "gru_layers", value=-HUGE),
    "gru units are text": put("architecture", "gru_units", value="64"),
    "gru units are a fraction": put("architecture", "gru_units", value=64.5),
    "gru units are a number with no end": put("architecture", "gru_units", value=10**4000),
    "channels": put("architecture", "channels", value=[HUGE, HUGE, HUGE]),
    "no channels": put("architecture", "channels", value=[]),
    "channels of nothing": put("architecture", "channels", value=[0, 0, 0]),
    "channels that are text": put("architecture", "channels", value="abc"),
    "many blocks": lambda h: h["architecture"].update(
        channels=[1] * 100_000, kernels=[1] * 100_000, pools=[[1, 1]] * 100_000
    ),
    "kernels": put("architecture", "kernels", value=[HUGE + 1] * 3),
    "kernels below none": put("architecture", "kernels", value=[-1] * 3),
    "pools of nothing": put("architecture", "pools", value=[[0, 0]] * 3),
    "pools below none": put("architecture", "pools", value=[[-1, -2]] * 3),
    "pools in time": put("architecture", "pools", value=[[HUGE, 2], [2, 2], [2, 2]]),
    "pools of one number": put("architecture", "pools", value=[[1], [2], [2]]),
    "pools that are numbers": put("architecture", "pools", value=[1, 2, 3]),
    "pools that are text": put("architecture", "pools", value=["ab", "cd", "ef"]),
    "dropout": put("architecture", "dropout", value=float("nan")),
    "dropout is text": put("architecture", "dropout", value="0"),
    "block of another kind": put("architecture", "block", value="os.system"),
    "block without its weights": put("architecture", "block", value="glu-average"),
    "block is a list": put("architecture", "block", value=["relu-max"]),
    "place of dropout": put("architecture", "dropout_at", value=None),
    "initial weights": put("architecture", "init", value="x" * 10**6),
    "momentum": put("architecture", "norm_momentum", value=float("nan")),
    "epsilon of nothing": put("architecture", "norm_eps", value=0),
    "another setting": put("architecture", "__class__", value="os.system"),
    "mels": put("features", "n_mels", value=HUGE),
    "mels are a fraction": put("features", "n_mels", value=64.5),
    "mels are text": put("features", "n_mels", value="64"),
    "hop of nothing": put("features", "hop_length", value=0),
    "hop is a fraction": put("features", "hop_length", value=400.5),
    "rate": put("features", "sample_rate", value=float("nan")),
    "rate is a fraction": put("features", "sample_rate", value=16000.5),
    "rate is true": put("features", "sample_rate", value=True),
    "fft": put("features", "n_fft", value=2**40),
    "channel is a table": put("features", "channel", value={}),
    "channel is a huge number": put("features", "channel", value="9" * 5000),
    "window is a list": put("features", "window", value=["hann"]),
    "resampler is a list": put("features", "resampler", value=["soxr HQ"]),
    "floor": put("features", "floor", value=float("inf")),
    "pooling of another name": put("pooling", "name", value="os.system"),
    "pooling without a name": put("pooling", "name", value=None),
    "pooling of many names": put("pooling", "name", value=["power"]),
    "pooling options are a list": put("pooling", "options", value=["init"]),
    "pooling options are text": put("pooling", "options", value="init"),
    "pooling option is text": put("pooling", "options", value={"init": "1"}),
    "pooling option is no number": put("pooling", "options", value={"max": float("nan")}),
    "pooling option of another name": put("pooling", "options", value={"__init__": 1}),
    "pooling option is a number with no end": put("pooling", "options", value={"init": 10**4000}),
    "pooling that is shared": put("pooling", "options", value={"shared": 1}),
    "pooling that is fixed by halves": put("pooling", "options", value={"learned": 0.5}),
    **{
        f"hierarchy, {case}": put("pooling", value={"name": "hierarchical", "options": options})
        for case, options in {
            "of hierarchies": {"base": "hierarchical"},
            "of nothing": {"base": None},
            "of lists": {"base": ["power"]},
            "of huge levels": {"levels": HUGE},
            "of huge levels in words": {"levels": f"{HUGE}x{HUGE}"},
            "of many levels": {"levels": "2x" * 10**5 + "2"},
            "of levels in a list": {"levels": [5, 4]},
            "of one weight for another": {},
        }.items()
    },
    "thresholds of a number": put("decoding", "thresholds", value=0.5),
    "thresholds of text": put("decoding", "thresholds", value=["a", "b"]),
    "thresholds that are none": put("decoding", "thresholds", value=[float("nan")] * 2),
    "thresholds of lists": put("decoding", "thresholds", value=[[0.5], [0.5]]),
    "many thresholds": put("decoding", "thresholds", value=[0.5] * 100_000),
    "windows without an end": put("decoding", "windows", value=[float("inf")] * 2),
    "windows of 1e300 s": put("decoding", "windows", value=[1e300] * 2),
    "windows below none": put("decoding", "windows", value=[-1.0] * 2),
    "gate is text": put("decoding", "gate", value="no"),
    "gap is text": put("decoding", "merge_gap", value="0"),
    "gap is a list": put("decoding", "merge_gap", value=[0.0]),
    "classes are text": put("classes", value="ab"),
    "classes are numbers": put("classes", value=[1, 2]),
    "classes are lists": put("classes", value=[["a"], ["b"]]),
    "classes twice": put("classes", value=["Dog", "Dog"]),
    "class without a name": put("classes", value=["Dog", ""]),
    "class with a line end": put("classes", value=["Dog", "a\nb"]),
    "class with a tab": put("classes", value=["Dog", "a\tb"]),
    "class with an escape": put("classes", value=["Dog", "\x1b]0;x\x07"]),
    "class with half a letter": put("classes", value=["Dog", "\ud800"]),
    "many classes": put("classes", value=[str(i) for i in range(100_000)]),
    "digest": put("weights_sha256", value="0" * 64),
    "digest is a list": put("weights_sha256", value=["0" * 64]),
}


def container(header: bytes, data: bytes = b"", declared: int | None = None) -> bytes:
    """Return a safetensors file with a header as given."""
    return struct.pack("<Q", len(header) if declared is None else declared) + header + data


def with_metadata(text: str, tensors: str = "") -> bytes:
    """Return a safetensors file whose sedtool header is `text`."""
    header = f'{{"__metadata__":{{"sedtool":{json.dumps(text)}}}{tensors}}}'
    return container(header.encode())


def tensor_entry(name: str, shape: list[int], end: int, start: int = 0) -> bytes:
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    return json.dumps({name: entry}).encode()


RAW: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "seven bytes": lambda: b"\x01" * 7,
    "noise": lambda: np.random.default_rng(0).bytes(100_000),
    "a pickle": lambda: pickle.dumps(Marker()),
    "a header of 2**63 bytes": lambda: container(b"{}", declared=2**63),
    "a header longer than the file": lambda: container(b"{}", declared=1000),
    "a header of 100 MB": lambda: container(b" " * 10**8),
    "a header of 100 MB of tensors": lambda: container(
        b"{" + b",".join(b'"%d":{}' % i for i in range(8_000_000)) + b"}"
    ),
    "a header that is no JSON": lambda: container(b"{" * 1000),
    "a header that is deep": lambda: container(DEEP.encode()),
    "a header that is a list": lambda: container(b"[]"),
    "settings that are deep": lambda: with_metadata(DEEP),
    "settings that are deep tables": lambda: with_metadata('{"format":' * 100_000),
    "settings that are a number": lambda: with_metadata("3"),
    "settings that are a list": lambda: with_metadata("[]"),
    "settings that are nothing": lambda: with_metadata(""),
    "settings of many digits": lambda: with_metadata("9" * 1_000_000),
    "settings of many lists": lambda: with_metadata("[" + "[]," * 2_000_000 + "[]]"),
    "no settings": lambda: container(b"{}"),
    "settings that are there twice": lambda: container(
        b'{"__metadata__":{"sedtool":"{}"},"__metadata__":{"sedtool":"{}"}}'
    ),
    "settings in which a key is there twice": lambda: with_metadata('{"format":1,"format":2}'),
    "settings that are not a number": lambda: with_metadata('{"format":NaN}'),
    "a tensor that is there twice": lambda: with_metadata(
        "{}", 2 * ',"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    ),
    "a tensor without its data": lambda: container(tensor_entry("a", [10**6], 4 * 10**6)),
    "a tensor of 2**62 numbers": lambda: container(tensor_entry("a", [2**62], 2**63)),
    "a tensor of overflowing shape": lambda: container(
        tensor_entry("a", [2**33, 2**33], 4), b"abcd"
    ),
    "a tensor before its data": lambda: container(tensor_entry("a", [1], 0, 4), b"abcd"),
    "a tensor of a million axes": lambda: container(tensor_entry("a", [1] * 10**6, 4), b"abcd"),
}


def changed_weights(change) -> bytes:
    """Return a model file whose tensors `change` has changed."""
    header, tensors = good_model()
    change(tensors)
    return save(tensors, {"sedtool": json.dumps(header)})


WEIGHTS: dict[str, Callable[[dict], object]] = {
    "a weight too many": lambda t: t.update({"\x1b[31m" * 30: torch.zeros(1)}),
    "many weights too many": lambda t: t.update({f"{i}": torch.zeros(0) for i in range(90_000)}),
    "a weight too few": lambda t: t.pop("crnn.classify.bias"),
    "a weight of another shape": lambda t: t.update(mean=torch.zeros(65)),
    "a weight of another type": lambda t: t.update(mean=torch.zeros(64, dtype=torch.float64)),
    "a weight of whole numbers": lambda t: t.update(mean=torch.zeros(64, dtype=torch.int32)),
    "a weight of 200 MB": lambda t: t.update(mean=torch.zeros(50_000_000)),
    "clips of another type": lambda t: t.update(trained_on=torch.zeros(2, 8)),
    "clips of another shape": lambda t: t.update(trained_on=torch.zeros(16, dtype=torch.uint8)),
    "no clips": lambda t: t.pop("trained_on"),
    "a mean that is none": lambda t: t["mean"].fill_(np.nan),
    "a deviation without an end": lambda t: t["std"].fill_(np.inf),
    "statistics that are none": lambda t: t["crnn.blocks.0.norm.running_var"].fill_(np.nan),
}


def good_model() -> tuple[dict, dict]:
    """Return header and tensors of a good model."""
    path = Path(os.environ["HOSTILE"]) / "good.safetensors"
    if not path.exists():
        save_model(path, new_model())
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["sedtool"]), load(data)


# States. A change of the header of a good one, or the bytes of a file.


class Marker:
    """Makes a file when it is unpickled by who should not."""

    def __reduce__(self):
        return (os.system, (f"touch {os.environ['HOSTILE']}/marker",))


STATE = {"step": 1, "tensors": {"a": torch.arange(3.0), "b": torch.zeros(2, 2)}}


def state_file(change=lambda header: None, tensors=None, text=None) -> bytes:
    """Return a state whose header was changed, and whose digest is right where it can be."""
    header = {"format": "sedtool-state", "format_version": 1, "state": {"step": 1}}
    change(header)
    tensors = STATE["tensors"] if tensors is None else tensors
    if isinstance(header.get("state"), dict):
        with contextlib.suppress(Exception):
            header.setdefault("sha256", digest(header["state"] | {"tensors": tensors}))
    return save(tensors, {"sedtool": json.dumps(header) if text is None else text})


def pickled(value, **how) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **how)
    return buffer.getvalue()


def raw_state(entries: str, data: bytes = b"") -> bytes:
    """Return a state with the tensors that the header says it has."""
    text = json.dumps({"format": "sedtool-state", "format_version": 1, "state": {}, "sha256": ""})
    header = f'{{"__metadata__":{{"sedtool":{json.dumps(text)}}},{entries}}}'
    return container(header.encode(), data)


def one_tensor(shape, end, dtype="F32", start=0, name="a") -> str:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    return f"{json.dumps(name)}:{json.dumps(entry)}"


STATES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "noise": lambda: np.random.default_rng(0).bytes(100_000),
    "a pickle that runs": lambda: pickle.dumps(Marker()),
    "an archive of torch that runs": lambda: pickled({"step": Marker()}),
    "an older archive of torch that runs": lambda: pickled(
        Marker(), _use_new_zipfile_serialization=False
    ),
    "a state of an earlier version": lambda: pickled({"state": {"step": 1}, "sha256": ""}),
    "a model": lambda: changed_weights(lambda tensors: None),
    **{
        f"no {key}": lambda key=key: state_file(lambda header: header.pop(key))
        for key in ("format", "format_version", "state")
    },
    **{
        f"{key} is {value!r:.20}": lambda key=key, value=value: state_file(put(key, value=value))
        for key in ("format", "format_version", "state", "sha256")
        for value in (None, "x" * 10**6, [[]], [1], 1e308, 10**4000)
    },
    "no digest": lambda: state_file(text=json.dumps({"format": "sedtool-state", "state": {}})),
    "another digest": lambda: state_file(put("sha256", value="0" * 64)),
    "a step that is not that of the digest": lambda: state_file().replace(
        rb"\"step\": 1", rb"\"step\": 2"
    ),
    "a key twice": lambda: state_file(text='{"format":"sedtool-state","format":"sedtool-state"}'),
    "a key twice, deep in it": lambda: state_file().replace(
        rb"{\"step\": 1}", rb"{\"step\": 1, \"step\": 1}"
    ),
    "a number that is none": lambda: state_file(put("state", "step", value=float("nan"))),
    "a number without an end": lambda: state_file(put("state", "step", value=float("inf"))),
    "a number of many digits": lambda: state_file(text='{"state":' + "9" * 1_000_000 + "}"),
    "tables in tables": lambda: state_file(text='{"state":' * 100_000),
    "lists in lists": lambda: state_file(text=DEEP),
    "two million lists": lambda: state_file(text="[" + "[]," * 2_000_000 + "[]]"),
    "a list for a table": lambda: state_file(text="[1, 2]"),
    "nothing for a table": lambda: state_file(text=""),
    "a header of 2**63 bytes": lambda: container(b"{}", declared=2**63),
    "a header longer than the file": lambda: container(b"{}", declared=1000),
    "a header of 100 MB": lambda: container(b" " * 10**8),
    "a header that is deep": lambda: container(DEEP.encode()),
    "a header that is a list": lambda: container(b"[]"),
    "no metadata": lambda: container(b"{}"),
    "metadata twice": lambda: container(
        b'{"__metadata__":{"sedtool":"{}"},"__metadata__":{"sedtool":"{}"}}'
    ),
    "metadata that is a list": lambda: container(b'{"__metadata__":[]}'),
    "a tensor without its data": lambda: raw_state(one_tensor([10**6], 4 * 10**6)),
    "a tensor of a terabyte": lambda: raw_state(one_tensor([2**38], 2**40)),
    "a tensor of 2**62 numbers": lambda: raw_state(one_tensor([2**62], 2**63)),
    "a tensor of overflowing shape": lambda: raw_state(one_tensor([2**33, 2**33], 4), b"abcd"),
    "a tensor of another size": lambda: raw_state(one_tensor([2], 4), b"abcd"),
    "a tensor before its data": lambda: raw_state(one_tensor([1], 0, start=4), b"abcd"),
    "a tensor of a million axes": lambda: raw_state(one_tensor([1] * 10**6, 4), b"abcd"),
    "a tensor of less than none": lambda: raw_state(one_tensor([-1], 4), b"abcd"),
    "a tensor of another type": lambda: raw_state(one_tensor([1], 4, "os.system"), b"abcd"),
    "a tensor twice": lambda: raw_state(",".join([one_tensor([0], 0)] * 2)),
    "two tensors in one place": lambda: raw_state(
        f"{one_tensor([1], 4)},{one_tensor([1], 4, name='b')}", b"abcd"
    ),
    "100000 tensors": lambda: raw_state(
        ",".join(one_tensor([0], 0, name=str(i)) for i in range(10**5))
    ),
    "a state with a tail": lambda: state_file() + b"\0" * 30,
    "two states": lambda: state_file() * 2,
    "half a state": lambda: state_file()[:-8],
    "another number in a tensor": lambda: state_file()[:-1] + b"\x40",
}


# Judging


def make(kind: str, name: str, path: Path) -> None:
    """Write a hostile file."""
    if kind == "header":
        header, tensors = good_model()
        HEADERS[name](header)
        path.write_bytes(save(tensors, {"sedtool": json.dumps(header)}))
    elif kind == "weights":
        path.write_bytes(changed_weights(WEIGHTS[name]))
    else:
        path.write_bytes({"model": RAW, "state": STATES}[kind][name]())


CORPUS = [
    *(("header", name) for name in HEADERS),
    *(("weights", name) for name in WEIGHTS),
    *(("model", name) for name in RAW),
    *(("state", name) for name in STATES),
]


def judge(kind: str, path: Path) -> dict:
    """Read a file; return how that ended, after how many seconds, and the peak of memory."""
    started = time.process_time()
    try:
        (load_state if kind == "state" else load_model)(path)
        ended = "it was read"
    except ArtifactError as error:
        ended = "refused"
        if str(path) not in str(error) or len(str(error)) > 1000:
            ended = f"refused in strange words: {str(error)[:300]!r}"
    except Exception as error:
        ended = f"{type(error).__name__}: {str(error)[:300]}"
    return {"ended": ended, "seconds": time.process_time() - started}


def judge_all() -> None:
    """Judge the files whose kinds and paths come in on stdin, one after the other.

    Each is judged in a fork of its own, which is killed when it takes too much.
    """
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for line in sys.stdin:
        kind, path = json.loads(line)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            resource.setrlimit(resource.RLIMIT_AS, (int(mapped + MEMORY),) * 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS),) * 2)
            os.write(write, json.dumps(judge(kind, Path(path))).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as answer:
            said = answer.read()
        _, status, usage = os.wait4(child, 0)
        verdict = json.loads(said) if said else {"ended": f"killed, status {status}", "seconds": 0}
        print(json.dumps(verdict | {"memory": usage.ru_maxrss * 1024}), flush=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTILE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def court(folder):
    """Return a process that judges files."""
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
    ) as process:
        yield process
        process.stdin.close()


def test_the_corpus_is_large():
    assert len(CORPUS) >= 100


def judged(court, folder: Path, kind: str, name: str) -> tuple[str, dict]:
    """Return what is wrong with how a file was refused, if anything, and the verdict on it."""
    path = folder / "hostile"
    make(kind, name, path)
    court.stdin.write(json.dumps([kind, str(path)]) + "\n")
    court.stdin.flush()
    verdict = json.loads(court.stdout.readline())
    path.unlink()
    is_cheap = verdict["seconds"] < SECONDS and verdict["memory"] < MEMORY
    is_quiet = verdict["ended"] == "refused" and not (folder / "marker").exists()
    return "" if is_cheap and is_quiet else f"{kind}, {name}: {verdict}", verdict


@pytest.mark.parametrize(("kind", "name"), CORPUS, ids=[f"{k}: {n}" for k, n in CORPUS])
def test_a_hostile_file_is_refused_quickly_in_little_memory(court, folder, kind, name):
    assert judged(court, folder, kind, name)[0] == ""


@pytest.mark.campaign
def test_all_hostile_files_are_refused_quickly_in_little_memory(court, folder, report):
    tries = report("P9", "hostile models and states made by hand")
    wrong = [judged(court, folder, kind, name) for kind, name in CORPUS]
    tries.add(len(CORPUS), sum(not said for said, _ in wrong))
    seconds = max(verdict["seconds"] for _, verdict in wrong)
    memory = max(verdict["memory"] for _, verdict in wrong)
    tries.what += f": at most {seconds:.1f} s, {memory / 2**20:.0f} MiB"
    assert [said for said, _ in wrong if said] == []


def test_what_is_made_here_is_hostile_only_where_it_is_changed(court, folder):
    """Both forms are read when nothing is changed: a refusal above is for the change."""
    (folder / "model").write_bytes(changed_weights(lambda tensors: None))
    (folder / "state").write_bytes(state_file())
    for kind, name in [("header", "model"), ("state", "state")]:
        court.stdin.write(json.dumps([kind, str(folder / name)]) + "\n")
        court.stdin.flush()
        assert json.loads(court.stdout.readline())["ended"] == "it was read"


@pytest.mark.parametrize("read", [load_model, load_state])
def test_a_file_that_is_no_file_is_refused_without_waiting(tmp_path, read):
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ".", "none"):
        with pytest.raises(ArtifactError, match=r"is not a regular file|No such file"):
            read(tmp_path / name)


@pytest.mark.parametrize("read", [load_model, load_state])
def test_a_file_of_a_terabyte_is_refused_unread(tmp_path, read):
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 10**12)
    with pytest.raises(ArtifactError, match="is larger than"):
        read(path)


@pytest.mark.slow
def test_a_state_of_ten_thousand_epochs_of_five_hundred_classes_is_read(tmp_path):
    path = tmp_path / "last.pt"
    columns = [f"n[class number {k}]" for k in range(500)]
    rows = torch.arange(10_000.0)[:, None] + torch.arange(500) / 7
    save_state(path, {"columns": columns, "tensors": {"rows": rows.double()}})
    state = load_state(path)
    assert state["columns"] == columns
    assert torch.equal(state["tensors"]["rows"], rows.double())


if __name__ == "__main__":
    judge_all()
