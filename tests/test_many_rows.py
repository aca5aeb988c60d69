"""A million rows, names or classes: exact counts in seconds and bounded memory, short messages."""

import time

import numpy as np
import pytest
from click.testing import CliRunner

from sedtool.audio import AudioInputs, write_wav
from sedtool.checking import CheckInputs, check
from sedtool.cli import cli
from support.campaign import scaled
from support.peaks import peak

LABELS = ("dog", "cat", "rain, heavy", "siren")


@pytest.fixture
def audio(tmp_path):
    path = tmp_path / "audio" / "a.wav"
    path.parent.mkdir()
    write_wav(path, np.random.default_rng(1).uniform(-0.5, 0.5, 8_000), 8_000)
    return path.parent


def write_tables(folder, n_rows):
    """Write as many rows of strong labels, of weak ones and of names, of clips that are nowhere."""
    with (folder / "strong.tsv").open("w") as file:
        file.write("filename\tonset\toffset\tevent_label\n")
        for i in range(n_rows):
            file.write(f"strong/{i // 4:07d}.wav\t{i % 4}\t{i % 4 + 0.5}\t{LABELS[i % 4]}\n")
    with (folder / "weak.tsv").open("w") as file:
        file.write("filename\tevent_labels\n")
        file.writelines(f"weak/{i:07d}.wav\t{LABELS[i % 4]},dog\n" for i in range(n_rows))
    with (folder / "names.tsv").open("w") as file:
        file.writelines(["filename\n", *(f"names/{i:07d}.wav\n" for i in range(n_rows))])
    (folder / "classes.txt").write_text("\n".join(LABELS))


def options(folder):
    tables = {"strong": "strong.tsv", "weak": "weak.tsv", "unlabelled": "names.tsv"}
    pairs = [(f"--{kind}", folder / name) for kind, name in tables.items()]
    return [word for pair in [*pairs, ("--classes", folder / "classes.txt")] for word in pair]


@pytest.mark.slow
def test_check_of_many_rows_takes_little_memory(tmp_path, audio):
    write_tables(tmp_path, 50_000)
    few = peak("check", audio, *options(tmp_path), exit_code=3)
    write_tables(tmp_path, 100_000)
    many = peak("check", audio, *options(tmp_path), exit_code=3)
    assert many - few < 100e6


@pytest.mark.campaign
def test_a_million_rows_are_checked_in_bounded_time_and_memory(tmp_path, audio, report):
    n_rows = scaled(1_000_000, 50_000)
    tries = report(
        "P17", f"check of three tables of {n_rows:,} rows in under 1.5 GB and 30 s of CPU"
    )
    write_tables(tmp_path, n_rows)
    most = peak("check", audio, *options(tmp_path), exit_code=3)
    tables = [[tmp_path / name] for name in ("strong.tsv", "weak.tsv", "names.tsv")]
    started = time.process_time()
    found = check(CheckInputs(AudioInputs((audio,)), *tables, tmp_path / "classes.txt"), workers=1)
    seconds = time.process_time() - started
    tries.add(1, int(most < 1.5e9 and seconds < 30))
    tries.what += f" ({most / 1e6:.0f} MB, {seconds:.0f} s)"
    assert found.problems == -(-n_rows // 4) + 2 * n_rows
    assert tries.held == tries.tried


def test_faults_are_counted_exactly_and_the_first_five_kept(tmp_path, audio):
    table = tmp_path / "strong.tsv"
    rows = ["a.wav\t0\t0.5\tdog", *["a.wav\t2\t1\tdog"] * 1_000, *["a.wav\tx"] * 7]
    table.write_text("filename\tonset\toffset\tevent_label\n" + "\n".join(rows))
    report = check(CheckInputs(AudioInputs((audio,)), [table]), workers=1)
    counts = {finding.kind: (finding.count, len(finding.first)) for finding in report.findings}
    assert (counts["bad-time"], counts["bad-row"]) == ((1_000, 5), (7, 5))
    assert report.files[0].rows == 1_008


def test_a_check_shows_a_thousand_classes_and_says_how_many_more_there_are(tmp_path, audio):
    table, classes = tmp_path / "weak.tsv", tmp_path / "classes.txt"
    table.write_text("filename\tevent_labels\na.wav\tx\n")
    classes.write_text("\n".join(["x", *(f"{i} {'long ' * 190}end" for i in range(5_000))]))
    done = CliRunner().invoke(
        cli, ["check", str(audio), "--weak", str(table), "--classes", str(classes)]
    )
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].strip() == "... and 4001 more; --json has all of them"
    assert len(lines) < 1_050 and max(map(len, lines)) <= 2_000


def test_the_table_of_all_classes_shows_a_thousand_and_the_tsv_all(tmp_path):
    table, classes = tmp_path / "strong.tsv", tmp_path / "classes.txt"
    table.write_text("filename\tonset\toffset\tevent_label\na.wav\t0\t1\tx\n")
    classes.write_text("\n".join(["x", *(f"{i} {'l' * 900}" for i in range(1_500))]))
    words = ["evaluate", str(table), str(table), "--classes", str(classes)]
    lines = CliRunner().invoke(cli, [*words, "--per-class"]).stdout.splitlines()
    assert lines.count("… and 501 more classes; --format tsv has all of them") == 3
    assert len(lines) < 3_050 and max(map(len, lines)) < 500
    rows = CliRunner().invoke(cli, [*words, "--format", "tsv"]).stdout.splitlines()
    assert sum(row.startswith("event\tclass\t") and "\tf1\t" in row for row in rows) == 1_501


def test_events_that_are_listed_over_and_over_are_not_compared_without_end(tmp_path):
    table = tmp_path / "strong.tsv"
    table.write_text("filename\tonset\toffset\tevent_label\n" + "a.wav\t0\t1\tx\n" * 100_000)
    done = CliRunner().invoke(cli, ["evaluate", str(table), str(table)])
    assert done.exit_code == 2
    assert "1.0e+10 pairs of events begin within 0.2 s of each other" in done.stderr
