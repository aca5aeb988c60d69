"""Pipelines as they are typed: stdout is data, stderr is talk, exit codes say how it went."""

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sedtool.checkpoint import save_model
from sedtool.config import DecodingConfig
from sedtool.labels import read_events
from support.audio import MP3
from support.command_lines import every_command, quick_lines
from support.models import new_model
from support.terminals import shown_on_a_terminal

pytestmark = pytest.mark.slow

SEDTOOL = f"{sys.executable} -m sedtool"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    model = new_model()
    model.classes = ("noise", "tone")
    model.decoding = DecodingConfig((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))  # one event a class
    save_model(path, model)
    return path


def shell(command, folder, **variables):
    """Run a line of bash, with pipefail off, as at a prompt."""
    return subprocess.run(
        ["bash", "-c", command.replace("sedtool ", f"{SEDTOOL} ", 1)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path, tiny, model):
    """A folder as users have them: a model, and recordings under awkward names."""
    source = next(tiny.audio.rglob("tone_*.wav"))
    names = ["a b.wav", "-dash.wav", "[red]x[-red].wav", "日本語 é.wav", 'it\'s "x" & co;.wav']
    (tmp_path / "rec").mkdir()
    for name in names:
        shutil.copy(source, tmp_path / "rec" / name)
    shutil.copy(model, tmp_path / "m.safetensors")
    return tmp_path


def names_in(stdout):
    rows = stdout.decode().splitlines()[1:]
    return sorted({row.split("\t")[0] for row in rows})


def test_awkward_names_go_from_disk_to_tsv_and_back(folder):
    done = shell("sedtool infer m.safetensors rec/ -q", folder)
    assert (done.returncode, done.stderr) == (0, b"warning: m.safetensors is not tuned"[:0])
    assert names_in(done.stdout) == sorted(path.name for path in (folder / "rec").iterdir())
    (folder / "e.tsv").write_bytes(done.stdout)
    assert sorted(read_events(folder / "e.tsv").names) == names_in(done.stdout)


def test_find_print0_feeds_a_list_on_stdin(folder):
    line = (
        "find rec -name '*.wav' -print0 | sedtool infer m.safetensors --files-from - -0 "
        "--root rec -q > all.tsv"
    )
    assert shell(line, folder).returncode == 0
    assert names_in((folder / "all.tsv").read_bytes()) == sorted(
        path.name for path in (folder / "rec").iterdir()
    )


def test_a_closed_pipe_is_quiet(folder):
    line = "sedtool infer m.safetensors rec/ -q | head -1; echo ${PIPESTATUS[0]}"
    done = shell(line, folder)
    header, status = done.stdout.decode().splitlines()
    assert header == "filename\tonset\toffset\tevent_label"
    assert status in ("0", "141")  # 0 if all was written before head went
    assert done.stderr == b""


def test_a_reader_that_goes_away_at_once_ends_the_run_with_141(folder):
    done = shell("(sleep 0.01; sedtool infer m.safetensors rec/; echo $? >&2) | true", folder)
    assert done.stderr.decode().splitlines()[-1] == "141"
    assert b"Traceback" not in done.stderr


def test_a_full_device_is_one_line_and_exit_code_6(folder):
    done = shell("sedtool infer m.safetensors rec/ -q > /dev/full", folder)
    assert done.returncode == 6
    assert done.stderr == b"Error: cannot write stdout: the disk is full\n"
    done = shell("sedtool evaluate rec.tsv rec.tsv > /dev/full", _with_list(folder))
    assert done.returncode == 6
    assert done.stderr.count(b"\n") == 1


def _with_list(folder):
    (folder / "rec.tsv").write_text("a.wav\t0\t1\ttone\n")
    return folder


def test_a_closed_stdout_is_one_line_and_exit_code_6(folder):
    done = shell("sedtool infer m.safetensors rec/ -q >&-", folder)
    assert done.returncode == 6
    assert done.stderr == b"Error: cannot write stdout: it is closed\n"


def test_a_closed_stderr_changes_no_result(folder):
    done = shell("sedtool infer m.safetensors rec/ 2>&-", folder)
    assert done.returncode == 0
    assert len(names_in(done.stdout)) == 5


def test_audio_on_stdin_is_one_recording(folder):
    done = shell("cat rec/a*.wav | sedtool infer m.safetensors - -q", folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert names_in(done.stdout) == ["stdin"]
    named = shell("cat rec/a*.wav | sedtool infer m.safetensors - -q --stdin-name x.wav", folder)
    assert named.stdout.decode() == done.stdout.decode().replace("stdin", "x.wav")


def test_a_stream_that_is_no_audio_is_one_line_and_exit_code_4(folder):
    done = shell("echo no audio | sedtool infer m.safetensors - -q", folder)
    assert done.returncode == 4
    assert done.stderr.count(b"\n") == 1
    done = shell("sedtool infer m.safetensors - -q < /dev/null", folder)
    assert done.returncode == 4
    assert done.stderr == b"Error: standard input is empty: no audio came in\n"


def test_the_list_of_events_goes_to_a_fifo_and_to_dev_stdout(folder):
    plain = shell("sedtool infer m.safetensors rec/ -q", folder).stdout
    assert shell("sedtool infer m.safetensors rec/ -q -o /dev/stdout", folder).stdout == plain
    line = "mkfifo f; (cat f > copy.tsv) & sedtool infer m.safetensors rec/ -q -o f; wait"
    assert shell(line, folder).returncode == 0
    assert (folder / "copy.tsv").read_bytes() == plain
    assert sorted(path.name for path in folder.iterdir()) == [
        "copy.tsv",
        "f",
        "m.safetensors",
        "rec",
    ]


def test_each_recording_is_written_as_soon_as_it_is_scored(folder):
    for i in range(60):
        shutil.copy(folder / "rec" / "a b.wav", folder / "rec" / f"{i}.wav")
    run = subprocess.Popen(
        [sys.executable, "-m", "sedtool", "infer", "m.safetensors", "rec"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    run.stdout.readline()
    run.stdout.readline()
    run.send_signal(signal.SIGSTOP)
    os.set_blocking(run.stdout.fileno(), False)
    early = run.stdout.read() or b""
    run.kill()
    run.wait()
    run.stdout.close()
    assert early.count(b"\n") < 100  # of 130


def test_grep_finds_events_and_paste_lines_up(folder):
    done = shell("sedtool infer m.safetensors rec/ -q | grep -c tone", folder)
    assert done.stdout == b"5\n"
    done = shell("sedtool infer m.safetensors rec/ -q --format jsonl", folder)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["event_label"] for row in rows} == {"noise", "tone"}


@pytest.mark.parametrize("shown", [True, False])
def test_what_the_mp3_decoder_prints_stays_off_stderr_unless_asked_for(folder, shown):
    rng = np.random.default_rng(0)
    for i in range(8):
        damaged = bytearray(MP3)
        for _ in range(6):
            damaged[rng.integers(500, len(damaged))] = rng.integers(256)
        (folder / "rec" / f"{i}.mp3").write_bytes(damaged)
    done = shell(f"sedtool infer m.safetensors rec/ {'-v' if shown else ''} -o e.tsv", folder)
    assert done.returncode in (0, 3)
    assert (b"mpg123" in done.stderr) == shown


def test_no_control_byte_of_a_name_reaches_the_terminal(folder):
    (folder / "rec" / "red\x1b[31m.wav").write_bytes(b"RIFF")
    (folder / "rec" / "tab\there.wav").write_bytes((folder / "rec" / "a b.wav").read_bytes())
    done = shell("sedtool infer m.safetensors rec/ -o e.tsv", folder)
    assert done.returncode == 3
    table = (folder / "e.tsv.failures.tsv").read_text()
    assert table.count("\n") == 3
    for text in (done.stderr.decode(), table):
        assert all(c.isprintable() or c in "\n\t" for c in text)
    assert r"tab\there.wav" in table


def test_the_log_file_has_what_stderr_is_spared(folder):
    done = shell("sedtool infer m.safetensors rec/ -q -o e.tsv --log-file run.log", folder)
    assert done.stderr == b""
    log = (folder / "run.log").read_text()
    assert "10 events in 5 clips" in log
    assert all(line[:4].isdigit() for line in log.splitlines())
    shell("sedtool infer nowhere rec/ --log-file run.log", folder)
    assert "Error: " in (folder / "run.log").read_text()


def test_a_log_file_that_cannot_be_written_is_exit_code_6(folder):
    done = shell("sedtool infer m.safetensors rec/ --log-file /nowhere/run.log", folder)
    assert done.returncode == 6
    assert done.stderr == b"Error: cannot write /nowhere/run.log: the folder does not exist\n"


def test_no_colour_and_no_bar_off_a_terminal(folder):
    done = shell("sedtool infer m.safetensors rec/ -o e.tsv", folder, FORCE_COLOR="1")
    assert b"\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1  # the summary


def on_a_terminal(command, folder, **variables):
    """Return what a terminal shows as stderr."""
    line = ["bash", "-c", command.replace("sedtool ", f"{SEDTOOL} ", 1)]
    return shown_on_a_terminal(line, subprocess.DEVNULL, cwd=folder, env=os.environ | variables)


def test_a_terminal_gets_a_bar_in_colour_and_without_if_asked(folder):
    line = "sedtool infer m.safetensors rec/ -o e.tsv --overwrite"
    coloured = on_a_terminal(line, folder, TERM="xterm-256color")
    assert b"infer" in coloured
    assert b"\x1b[38" in coloured or b"\x1b[3" in coloured
    plain = on_a_terminal(line, folder, TERM="xterm-256color", NO_COLOR="1")
    assert b"infer" in plain
    assert b"\x1b[38" not in plain
    assert b"10 events" in on_a_terminal(f"{line} -v", folder, TERM="dumb")


def test_stderr_has_a_line_every_thirty_seconds_where_it_is_no_terminal(capsys, monkeypatch):
    from sedtool.cli import console

    now = iter([0.0, 10.0, 29.0, 31.0, 40.0, 62.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    with console.progress("infer", quiet=False) as report:
        for done in range(1, 6):
            report(done, 10, "a.wav")
    assert capsys.readouterr().err.splitlines() == [
        "infer: clip 3 of 10, 0:01:12 left  a.wav",
        "infer: clip 5 of 10, 0:01:02 left  a.wav",
    ]


@pytest.mark.parametrize(
    ("command", "number"),
    [("extract", signal.SIGTERM), ("extract", signal.SIGINT), ("infer", signal.SIGUSR1)],
)
def test_a_signal_ends_a_run_that_its_rerun_completes_with_the_same_bytes(folder, command, number):
    many_recordings(folder)
    arguments, output = {
        "extract": (["extract", "rec", "-o", "out.h5"], "out.h5"),
        "infer": (["infer", "m.safetensors", "rec", "-o", "e.tsv", "--scores", "out.h5"], "out.h5"),
    }[command]
    line = [sys.executable, "-m", "sedtool", *arguments, "-q"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(line, cwd=folder, env=environment, stderr=subprocess.PIPE)
    wait_for_clips(folder / "out.h5.journal", folder / "e.tsv.journal")
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    assert run.returncode == (130 if number == signal.SIGINT else 75)
    assert said.count(b"\n") == 1
    assert not (folder / output).exists()
    rerun = subprocess.run(line, cwd=folder, env=environment, capture_output=True, check=True)
    assert rerun.stderr == b""
    interrupted = (folder / output).read_bytes()
    subprocess.run([*line, "--overwrite"], cwd=folder, env=environment, check=True)
    assert (folder / output).read_bytes() == interrupted
    left = {path.name for path in folder.iterdir()} - {"m.safetensors", "rec", "out.h5", "e.tsv"}
    assert left == {".out.h5.made" if command == "extract" else ".e.tsv.made"}


def test_max_time_ends_a_run_as_sigterm_does(folder):
    many_recordings(folder)
    done = shell("sedtool infer m.safetensors rec/ -o e.tsv --max-time 0.5", folder)
    assert done.returncode == 75
    assert done.stderr == b"Error: stopped by --max-time; run the same command again\n"
    assert not (folder / "e.tsv").exists()


def test_what_is_unfinished_is_refused_by_the_next_stage(folder):
    many_recordings(folder)
    line = [sys.executable, "-m", "sedtool", "infer", "m.safetensors", "rec", "-o", "e.tsv"]
    run = subprocess.Popen(line, cwd=folder, stderr=subprocess.DEVNULL)
    wait_for_clips(folder / "e.tsv.journal")
    run.kill()
    run.wait()
    assert not (folder / "e.tsv").exists()
    (folder / "r.tsv").write_text("a b.wav\t0\t1\ttone\n")
    done = shell("sedtool evaluate r.tsv e.tsv", folder)
    assert done.returncode == 5
    said = (
        rb"Error: e.tsv: not complete \(\d+ of 605 clips\); run the command that makes it again\n"
    )
    assert re.fullmatch(said, done.stderr)


def many_recordings(folder):
    for i in range(600):
        (folder / "rec" / f"{i:03d}.wav").symlink_to("a b.wav")


def wait_for_clips(*journals):
    """Wait until one of the journals has a clip or more."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if any(path.exists() and path.read_bytes().count(b"\n") > 2 for path in journals):
            return
        time.sleep(0.002)


def test_a_locale_without_utf8_changes_no_byte(folder):
    plain = shell("sedtool infer m.safetensors rec/ -q", folder).stdout
    for locale in ("C", "POSIX"):
        variables = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        done = shell("sedtool infer m.safetensors rec/ -q", folder, **variables)
        assert done.returncode in (0, 3)
        if done.returncode == 0:
            assert done.stdout == plain


# The log file


@pytest.mark.parametrize("name", ["m.safetensors", "labels.tsv"])
def test_a_file_that_is_no_log_is_not_appended_to(folder, name):
    (folder / "labels.tsv").write_text("2026 a.wav\t0\t1\ttone\n")
    before = (folder / name).read_bytes()
    done = shell(f"sedtool doctor . --log-file {name}", folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == f"Error: {name} is no log; give --log-file a new name\n".encode()
    assert (folder / name).read_bytes() == before


def test_a_log_is_continued(folder):
    (folder / "run.log").touch()
    shell("sedtool doctor . --log-file run.log", folder)
    first = (folder / "run.log").read_text()
    shell("sedtool doctor . --log-file run.log", folder)
    assert (folder / "run.log").read_text().startswith(first)
    assert (folder / "run.log").read_text().count("'doctor'") == 2


@pytest.mark.parametrize("other", ["-o e.tsv", "--scores s.h5", "--weak ./w.tsv"])
def test_a_log_that_is_an_output_is_refused(folder, other):
    line = f"sedtool infer m.safetensors rec {other} --log-file {other.split()[1]}"
    done = shell(line, folder)
    assert done.returncode == 2
    assert b"is another file of this command, too" in done.stderr
    assert not (folder / other.split()[1]).exists()


@pytest.mark.campaign
def test_no_command_minds_where_its_stdout_goes(tiny, tmp_path, report):
    ways = {"| true": "a reader that has gone", "> /dev/full": "a full device", ">&-": "no stdout"}
    tries = report("P16", f"every command with {', '.join(ways.values())}")
    wrong = []
    commands = [name for name, _ in every_command() if name not in ("demo", "completion")]
    for command, (number, way) in itertools.product(commands, enumerate(ways)):
        folder = tmp_path / f"{command} {number}"
        folder.mkdir()
        words = shlex.join(map(str, quick_lines(tiny, folder)[command][1:]))
        line = f"(sedtool {command} {words} -q; echo $? > code) {way}"
        errors = shell(line, folder).stderr.decode().splitlines()
        errors = [said for said in errors if not said.startswith("warning: ")]
        code = (folder / "code").read_text().strip()
        is_well = code in ("0", "6", "141") and len(errors) <= 1 and "Traceback" not in str(errors)
        wrong += [] if is_well else [f"{command} {way}: {code}, {errors}"]
        tries.add(1, int(is_well))
    assert wrong == []


def test_a_stream_of_arecord_is_one_recording(folder):
    content = next((folder / "rec").glob("a*.wav")).read_bytes()
    at = content.index(b"data") + 4
    for size in (b"\0\0\0\x80", bytes(4)):
        (folder / "piped").write_bytes(content[:at] + size + content[at + 4 :])
        done = shell("cat piped | sedtool infer m.safetensors - -q", folder)
        assert (done.returncode, done.stderr) == (0, b"")
        assert names_in(done.stdout) == ["stdin"]
