"""Exit codes 6 and 141: full disks, locks, limits, devices and streams that are not there."""

import contextlib
import errno
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from sedtool.__main__ import main
from sedtool.atomic import claim
from sedtool.checkpoint import load_model
from sedtool.doctor import Check
from support.command_lines import is_one_line, quick_lines, refused, run

pytestmark = pytest.mark.slow


@pytest.fixture
def lines(tiny, tmp_path):
    return quick_lines(tiny, tmp_path)


# Processes of their own. One interpreter that has loaded everything forks for each of them.


class Ended(NamedTuple):
    code: int
    stdout: bytes
    stderr: str


def serve() -> None:
    """Run a command line in a child for each request on stdin; answer with its exit code."""
    for name in (
        "demo",
        "doctor",
        "checking",
        "convert",
        "info",
        "store.merge",
        "evaluation.from_files",
    ):
        importlib.import_module(f"sedtool.{name}")  # once, and not in each child
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(_child(**json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _child(arguments: list[str], prepare: str, stdin: str, stdout: str, stderr: str) -> int:
    torch.set_num_threads(1)
    if stdout == "closed":
        os.close(1)
    elif stdout == "nobody reads":
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)
    else:
        os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(os.open(stdin, os.O_RDONLY), 0)
    os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.stdin, sys.stderr = open(0), open(2, "w", buffering=1)  # noqa: SIM115
    sys.stdout = open(1, "w") if stdout != "closed" else None  # noqa: SIM115
    sys.argv = ["sedtool", *arguments]
    code = 0
    try:
        exec(prepare, {"os": os, "resource": resource, "signal": signal})
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        code = code or 120  # as Python does
    return code


@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen(
        [sys.executable, __file__],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.stdin.close()


@pytest.fixture
def process(server, tmp_path):
    """Return a function that runs a command line in a process of its own."""

    def call(*arguments, prepare="", stdin=os.devnull, stdout="") -> Ended:
        words = [*str(arguments[0]).split(), *map(str, arguments[1:])]
        out, err = tmp_path / "stdout", tmp_path / "stderr"
        streams = {"stdin": str(stdin), "stdout": stdout or str(out), "stderr": str(err)}
        print(json.dumps({"arguments": words, "prepare": prepare} | streams), file=server.stdin)
        server.stdin.flush()
        code = int(server.stdout.readline())
        found = Ended(code, out.read_bytes() if out.exists() else b"", err.read_text())
        out.unlink(missing_ok=True)
        err.unlink()
        return found

    return call


# What the machine lacks


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] err == 0. can't allocate memory"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        ImportError("No module named 'torch'"),
    ],
    ids=repr,
)
def test_what_the_machine_lacks_is_6(lines, error, monkeypatch):
    def exhausted(*_, **__):
        raise error

    monkeypatch.setattr("sedtool.inference.infer", exhausted)
    assert is_one_line(refused(*lines["infer"], exit_code=6))


@pytest.mark.parametrize(
    ("command", "stage", "remedy"),
    [
        ("infer", "inference.infer", "a smaller --batch-size or fewer --workers needs less"),
        ("extract", "extraction.extract", "fewer --workers needs less"),
        ("evaluate", "evaluation.from_files.evaluate_files", "`sedtool doctor` says how much"),
    ],
)
def test_what_is_advised_for_memory_is_an_option_of_the_command(
    lines, command, stage, remedy, monkeypatch
):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(f"sedtool.{stage}", exhausted)
    assert f"Error: out of memory; {remedy}" in refused(*lines[command], exit_code=6)


PICTURES = (
    *("plot clip", "plot pooling", "plot frames", "plot durations", "plot gradients"),
    "plot curves",
)


def outputs(lines, tiny):
    """Return, for each command that writes files, its line without them and what names them."""
    model, clip = lines["infer"][1:3]
    cut = {name: line[: line.index("-o")] for name, line in lines.items() if "-o" in line}
    train = lines["train"]
    return {
        "extract": (cut["extract"], "-o"),
        "train": (("train", *train[3:]), "-o"),
        "infer": (("infer", model, clip), "-o"),
        "infer --scores": (("infer", model, clip), "--scores"),
        "infer --weak": (("infer", model, clip), "--weak"),
        "evaluate": (lines["evaluate"], "-o"),
        "plot clip": (cut["plot clip"], "-o"),
        **{name: (cut[name], "-o") for name in PICTURES[1:]},
        "demo": (("demo",), "-o"),
        "merge": (("merge", "--partial", lines["merge"][1]), "-o"),
        "convert": (lines["convert"], "-o"),
        "--log-file": (lines["convert"], "--log-file"),
    }


WRITERS = (
    *("extract", "train", "infer", "infer --scores", "infer --weak", "evaluate", "plot clip"),
    *(*PICTURES[1:], "demo", "merge", "convert", "--log-file"),
)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_place_that_cannot_be_written_is_6(lines, tiny, tmp_path, writer):
    line, option = outputs(lines, tiny)[writer]
    suffix = {**dict.fromkeys(PICTURES, ".svg"), "convert": ".tsv"}.get(writer, "")
    (tmp_path / "file").write_text("mine")
    for folder in ("/proc", tmp_path / "file"):
        message = refused(*line, option, f"{folder}/out{suffix}", exit_code=6)
        assert f"cannot write {folder}/out{suffix}: " in message
    assert (tmp_path / "file").read_text() == "mine"


LOCKED = tuple(w for w in WRITERS if w not in ("demo", *PICTURES, "--log-file"))


@pytest.mark.parametrize("writer", LOCKED)
def test_an_output_that_another_run_is_making_is_6(lines, tiny, tmp_path, writer):
    line, option = outputs(lines, tiny)[writer]
    output = tmp_path / "o.tsv"
    held = output
    if writer == "train":
        output.mkdir()
        held = output / "model.safetensors"
    with claim(held):  # a lock is held by who opened it, be it in this process or in another
        message = refused(*line, option, output, exit_code=6)
    assert "another sedtool is making" in message
    assert not held.exists()


def test_a_device_that_is_not_there_is_6(lines, tiny):
    for command in ("train", "tune", "infer", "demo"):
        message = refused(*lines[command], "--device", "cuda:99", exit_code=6)
        assert "device cuda:99 is not there" in message


def test_a_required_thing_that_does_not_work_is_6(tmp_path, monkeypatch):
    checks = [Check("torch", "problem", "does not load", "pip install torch")]
    monkeypatch.setattr("sedtool.doctor.examine", lambda *_: checks)
    result = run("doctor", tmp_path, exit_code=6)
    assert result.stderr == "Error: 1 of 1 checks: torch\n"
    assert "-> pip install torch" in result.stdout


def test_a_file_that_may_not_grow_is_6_and_the_old_one_stays(lines, tiny, tmp_path, process):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))"
    for writer in ("extract", "infer", "infer --scores", "evaluate", "merge", "convert"):
        line, option = outputs(lines, tiny)[writer]
        output = tmp_path / ("o.tsv" if writer in ("infer", "convert") else "o.h5")
        if writer == "infer":
            line = ("infer", lines["infer"][1], tiny.audio, "--threshold", "0")
        output.write_text("old")
        ended = process(*line, option, output, "--overwrite", "-q", prepare=limit)
        assert (ended.code, ended.stderr) == (
            6,
            f"Error: cannot write {output}: the file would be larger than is allowed\n",
        )
        assert output.read_text() == "old"


def test_memory_that_does_not_suffice_is_6(tiny, tmp_path, process):
    limit = (
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))"
    )
    small = ("--arch", "small", "--epochs", 1, "--steps-per-epoch", 1, "--device", "cpu")
    labels = ("--weak", tiny.weak, "--val-weak", tiny.weak_validation)
    line = ("train", "-o", tmp_path / "run", "--features", tiny.features, *labels, *small)
    ended = process(*line, "--batch-size", 100_000, prepare=limit)
    assert (ended.code, is_one_line(ended.stderr)) == (6, True)
    assert "out of memory; a smaller --batch-size" in ended.stderr


STDOUT = ("infer", "evaluate", "check", "convert", "info", "doctor", "demo", "completion", "config")


@pytest.fixture
def printers(lines, tiny):
    """A line, and what must be prepared, for each command that writes data to stdout."""
    checks = "import sedtool.doctor as d\nd.examine = lambda *_: [d.Check('all', 'ok', 'well')]"
    demo = (
        "import sedtool.demo, sedtool.evaluation as e\n"
        "from sedtool.config import EvaluationConfig\n"
        "evaluation = e.evaluate([], [], EvaluationConfig())\n"
        "sedtool.demo.run_demo = lambda *_, **__: evaluation"
    )
    prepared = {"doctor": checks, "demo": demo}
    found = {name: (lines[name], prepared.get(name, "")) for name in STDOUT[:-2]}
    found["completion"] = ("completion", "bash"), ""
    found["config"] = ("train", "--print-config"), ""
    return found


@pytest.mark.parametrize("printer", STDOUT)
def test_stdout_that_cannot_be_written_is_6_and_one_that_nobody_reads_141(
    printers, printer, process
):
    line, prepare = printers[printer]
    well = process(*line, prepare=prepare)
    assert well.code == 0
    assert well.stdout.endswith(b"\n")
    full = process(*line, prepare=prepare, stdout="/dev/full")
    assert (full.code, full.stderr) == (6, "Error: cannot write stdout: the disk is full\n")
    unread = process(*line, prepare=prepare, stdout="nobody reads")
    assert (unread.code, unread.stderr) == (141, "")
    closed = process(*line, prepare=prepare, stdout="closed")
    assert (closed.code, closed.stderr) == (6, "Error: cannot write stdout: it is closed\n")


@pytest.mark.parametrize("line", ["--help", "--version", "train --help"])
def test_so_it_is_with_what_is_no_data(line, process):
    assert process(*line.split()).code == 0
    full = process(*line.split(), stdout="/dev/full")
    assert (full.code, is_one_line(full.stderr)) == (6, True)
    assert process(*line.split(), stdout="nobody reads")[::2] == (141, "")


@contextlib.contextmanager
def mounted(folder: Path, size: str):
    """Mount a small file system in memory, or skip the test."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path, left: int) -> None:
    """Fill the disk but for so many bytes."""
    with path.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    os.truncate(path, max(path.stat().st_size - left, 0))


LEFT = {  # bytes on the disk that do not suffice
    "extract": (0, 4096, 65_536),
    "infer": (0, 4096),
    "merge": (0, 4096, 32_768),
    "convert": (0, 4096, 65_536),
    "evaluate": (0,),
}


@pytest.mark.parametrize(
    ("writer", "left"), [(w, left) for w, all_ in LEFT.items() for left in all_]
)
def test_a_full_disk_is_6_and_leaves_the_old_output_and_a_rerun_goes_on(
    lines, tiny, tmp_path, writer, left
):
    part, events = tmp_path / "part.h5", tmp_path / "events.tsv"
    rows = (f"clip {i // 10}.wav\t{i % 10}.25\t{i % 10}.75\tDog\n" for i in range(5_000))
    events.write_text("filename\tonset\toffset\tevent_label\n" + "".join(rows))
    if writer == "merge":
        run("extract", tiny.audio, "-o", part, "--shard", "1/2", "-q")
    line, option, name = {
        "extract": (("extract", tiny.audio), "-o", "o.h5"),
        "infer": (("infer", lines["infer"][1], tiny.audio), "--scores", "o.h5"),
        "merge": (("merge", part, "--partial"), "-o", "o.h5"),
        "convert": (("convert", events), "-o", "o.tsv"),
        "evaluate": (("evaluate", tiny.strong, tiny.strong), "-o", "o.json"),
    }[writer]
    line = (*line, "-q", "--overwrite", option)
    run(*line, tmp_path / name)
    disk = tmp_path / "disk"
    with mounted(disk, "2m"):
        output = disk / name
        output.write_text("old")
        fill(disk / "ballast", left)
        said = run(*line, output, exit_code=6).stderr
        assert is_one_line(said)
        assert "the disk is full" in said
        assert output.read_text() == "old"
        kept = {path.name for path in disk.iterdir()} - {"ballast", name}
        assert kept <= {f"{name}.spool", f"{name}.journal"}
        (disk / "ballast").unlink()
        run(*line, output)
        assert output.read_bytes() == (tmp_path / name).read_bytes()
        assert {path.name for path in disk.iterdir()} - {f".{name}.made"} == {name}


def test_a_full_disk_is_6_in_training_and_the_run_goes_on(lines, tiny, tmp_path):
    line = (*lines["train"][:1], *lines["train"][3:], "--device", "cpu", "-q", "--resume")
    run(*line, "--epochs", "2", "-o", tmp_path / "whole")
    disk = tmp_path / "disk"
    with mounted(disk, "12m"):
        fill(disk / "ballast", 0)
        assert "the disk is full" in refused(*line, "-o", disk / "run", exit_code=6)
        (disk / "ballast").unlink()
        run(*line, "-o", disk / "run")
        state = (disk / "run" / "last.pt").read_bytes()
        for left in (0, 65536, 1_000_000):
            fill(disk / "ballast", left)
            message = refused(*line, "--epochs", "2", "-o", disk / "run", exit_code=6)
            assert "the disk is full" in message
            assert (disk / "run" / "last.pt").read_bytes() == state
            load_model(disk / "run" / "model.safetensors")
            (disk / "ballast").unlink()
        run(*line, "--epochs", "2", "-o", disk / "run")
        for name in ("model.safetensors", "metrics.tsv"):
            assert (disk / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


if __name__ == "__main__":
    serve()
