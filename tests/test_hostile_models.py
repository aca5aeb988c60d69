"""Models and training states from strangers: refused, quickly, in little memory, running nothing.

Each file is read in a child process that may take 1.5 GB of memory and 20 s, and prints how it
ended. Files that torch or safetensors would let through are made by hand.
"""

import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from sedtool.checkpoint import digest, load_model, load_state, save_model, save_state
from sedtool.errors import ArtifactError
from support.models import new_model

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


# States. A pickle as torch would be given it, or the bytes of a file.


class Marker:
    """Makes a file when it is unpickled by who should not."""

    def __reduce__(self):
        return (os.system, (f"touch {os.environ['HOSTILE']}/marker",))


def state(value) -> bytes:
    """Return a file in the form of a state, its digest right where there is one."""
    buffer = io.BytesIO()
    try:
        sha256 = digest(value)
    except Exception:
        sha256 = ""
    torch.save({"state": value, "sha256": sha256}, buffer)
    return buffer.getvalue()


def archive(pickled: bytes, storages: dict[str, bytes] | None = None, **options) -> bytes:
    """Return an archive as torch writes it, with a pickle of one's own."""
    writer, buffer = torch._C.PyTorchFileWriter, io.BytesIO()
    made = writer(buffer)
    made.write_record("data.pkl", pickled, len(pickled))
    made.write_record("byteorder", b"little", 6)
    for name, data in (storages or {}).items():
        made.write_record(f"data/{name}", data, len(data))
    made.write_end_of_file()
    return buffer.getvalue()


def calling(function: str, *arguments) -> bytes:
    """Return a pickle that calls a global, ``"module name"``."""
    module, name = function.split()
    packed = pickle.dumps(arguments, protocol=2)[2:-1]
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + packed + b"R."


def repeated(depth: int) -> list:
    """Return lists in lists, 2**depth values of a few bytes each when they are written."""
    value: list = [1]
    for _ in range(depth):
        value = [value, value]
    return value


def looped() -> list:
    value: list = []
    value.append(value)
    return value


def nested(depth: int) -> bytes:
    return archive(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")


def rezipped(data: bytes, compression: int) -> bytes:
    """Return an archive with its entries compressed, and a storage of 50 MB of zeros added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        with new.open("archive/data/9", "w", force_zip64=True) as stream:
            for _ in range(50):
                stream.write(bytes(10**6))
    return buffer.getvalue()


SMALL = {"step": 1, "weights": torch.arange(3.0)}


def edited(old: bytes, new: bytes) -> bytes:
    """Return a state whose pickle says `new` where it said `old`."""
    data = state(SMALL)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        pickled, storage = file.read("archive/data.pkl"), file.read("archive/data/0")
    assert old in pickled
    return archive(pickled.replace(old, new, 1), {"0": storage})


STATES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "noise": lambda: np.random.default_rng(0).bytes(100_000),
    "a pickle that runs": lambda: pickle.dumps(Marker()),
    "a state that runs": lambda: state({"step": Marker()}),
    "an old archive that runs": lambda: legacy(Marker()),
    "an old archive": lambda: legacy({"state": {"step": 1}, "sha256": digest({"step": 1})}),
    "os.system": lambda: archive(calling("os system", "touch marker")),
    "posix.system": lambda: archive(calling("posix system", "touch marker")),
    "eval": lambda: archive(calling("builtins eval", "1")),
    "getattr": lambda: archive(calling("builtins getattr", "", "join")),
    "torch.load": lambda: archive(calling("torch load", "/etc/passwd")),
    "numpy": lambda: archive(calling("numpy.core.multiarray scalar", 1)),
    "a bytearray of 1 TB": lambda: archive(calling("builtins bytearray", 10**12)),
    "a bytearray of 1 GB": lambda: archive(calling("builtins bytearray", 2 * 10**9)),
    "a parameter": lambda: archive(calling("torch.nn.parameter Parameter", None)),
    "a tensor class": lambda: archive(calling("torch FloatTensor", 10**11)),
    "a storage of 1 TB": lambda: archive(calling("torch FloatStorage", 10**12)),
    "an untyped storage of 1 TB": lambda: archive(calling("torch.storage UntypedStorage", 10**12)),
    "a tensor without storage": lambda: archive(
        calling("torch._utils _rebuild_meta_tensor_no_storage", 1, (10**9,), (1,), False)
    ),
    "a counter": lambda: archive(calling("collections Counter", "abc")),
    "lists in lists, 2**40 values": lambda: state_of(repeated(40)),
    "lists in lists, 2**21 values": lambda: state_of(repeated(21)),
    "a list in itself": lambda: state({"rows": looped()}),
    "a million lists in lists": lambda: nested(1_000_000),
    "three million lists": lambda: archive(b"\x80\x02]" + b"(]" * 3_000_000 + b"."),
    "a stretched tensor": lambda: state_of(torch.zeros(1).expand(10**11)),
    "a stretched table of tensors": lambda: state_of([torch.zeros(10**6)] * 10_000),
    "a text a thousand times": lambda: state_of(["x" * 10**6] * 10_000),
    "a sparse tensor": lambda: state_of(torch.eye(3).to_sparse()),
    "a set": lambda: state_of({1, 2}),
    "a complex number": lambda: state_of(1j),
    "a type": lambda: state_of(torch.float32),
    "a size": lambda: state_of(torch.Size([1, 2])),
    "a numpy array": lambda: state_of(np.zeros(3)),
    "a list for a table": lambda: state([1, 2]),
    "nothing for a table": lambda: state(None),
    "no digest": lambda: saved({"state": SMALL}),
    "no state": lambda: saved({"sha256": "0" * 64}),
    "another digest": lambda: saved({"state": SMALL, "sha256": "0" * 64}),
    "a list": lambda: saved([1]),
    "a storage longer than its bytes": lambda: edited(b"K\x03tq", b"J\x00\x00\x00\x7ftq"),
    "a storage of another name": lambda: edited(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x009"),
    "a storage outside the archive": lambda: edited(
        b"X\x01\x00\x00\x000", b"X\x0b\x00\x00\x00/etc/passwd"
    ),
    "a tensor outside its storage": lambda: edited(b"K\x00K\x03\x85", b"K\x63K\x03\x85"),
    "a compressed archive": lambda: rezipped(state(SMALL), zipfile.ZIP_DEFLATED),
    "an archive without a directory": lambda: state(SMALL)[:-98],
    "an archive with a tail": lambda: state(SMALL) + b"\0" * 30,
    "two archives": lambda: state(SMALL) + state(SMALL),
    "a directory of a billion": lambda: state(SMALL)[:-98] + directory(10**9, 10**9, 0),
    "a directory from before": lambda: state(SMALL)[:-98] + directory(3, 300, 2**63),
    "an archive without a pickle": lambda: state(SMALL).replace(b"data.pkl", b"data.pkx"),
    "a pickle of 64-bit text": lambda: archive(b"\x80\x02X\xff\xff\xff\xffabc."),
    "a pickle without an end": lambda: archive(b"\x80\x02}"),
    "a pickle of another protocol": lambda: archive(pickle.dumps({"state": {}}, protocol=4)),
    "a number of many digits": lambda: state_of(10**100_000),
}


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def state_of(value) -> bytes:
    """Return a state with a strange value, and no digest: it may be too large for one."""
    return saved({"state": {"value": value}, "sha256": "0" * 64})


def legacy(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def directory(entries: int, size: int, start: int) -> bytes:
    """Return the end of an archive that lies about its directory."""
    wide = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, start
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, start % 2**63, 1)
    few = (min(entries, 65535), min(size, 2**32 - 1), min(start, 2**32 - 1))
    return wide + locator + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, few[0], *few, 0)


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
    started = time.monotonic()
    try:
        (load_state if kind == "state" else load_model)(path)
        ended = "it was read"
    except ArtifactError as error:
        ended = "refused"
        if str(path) not in str(error) or len(str(error)) > 1000:
            ended = f"refused in strange words: {str(error)[:300]!r}"
    except Exception as error:
        ended = f"{type(error).__name__}: {str(error)[:300]}"
    return {"ended": ended, "seconds": time.monotonic() - started}


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


@pytest.mark.parametrize(("kind", "name"), CORPUS, ids=[f"{k}: {n}" for k, n in CORPUS])
def test_a_hostile_file_is_refused_quickly_in_little_memory(court, folder, kind, name):
    path = folder / "hostile"
    make(kind, name, path)
    court.stdin.write(json.dumps([kind, str(path)]) + "\n")
    court.stdin.flush()
    verdict = json.loads(court.stdout.readline())
    path.unlink()
    assert verdict["ended"] == "refused"
    assert verdict["seconds"] < SECONDS
    assert verdict["memory"] < MEMORY
    assert not (folder / "marker").exists()


def test_what_is_made_here_is_hostile_only_where_it_is_changed(court, folder):
    """Both forms are read when nothing is changed: a refusal above is for the change."""
    header, tensors = good_model()
    (folder / "model").write_bytes(save(tensors, {"sedtool": json.dumps(header)}))
    (folder / "state").write_bytes(edited(b"step", b"step"))
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


def test_a_state_of_three_thousand_epochs_is_read(tmp_path):
    path = tmp_path / "last.pt"
    rows = [{"epoch": i, **{f"n[{k}]": i + k / 7 for k in range(40)}} for i in range(3000)]
    value = {"rows": rows, "weights": OrderedDict(a=torch.zeros(2), b=torch.arange(3))}
    save_state(path, value)
    assert digest(load_state(path)) == digest(value)


if __name__ == "__main__":
    judge_all()
