"""What campaigns say: a row for what was tried, for every promise, from all processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from support import campaign
from support.campaign import BEGIN, END, PROMISES, Report, Tries, read_records, table

DOCS = Path(__file__).parents[1] / "docs" / "reliability.md"


def rows(text):
    """Return the cells of a table, by the promise that a row or one above it names."""
    found, promise = {}, ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0].startswith("**P"):
            promise = cells[0].split("*")[2]
        if promise and line.startswith("|"):
            found.setdefault(promise, []).append(cells[1:])
    return found


def test_each_promise_has_its_tries_or_was_not_tried():
    held = Tries("P3 P1", "kills of a", 20, 20, 90.0)
    not_held = Tries("P1", "kills of b", 1_000, 998, 6.0)
    broken_off = Tries("P4", "errors", 7, 7, 6.0, broke_off=True)
    found = rows(table([held, not_held, broken_off], 3_600.0))
    assert list(found) == list(PROMISES) == [f"P{i}" for i in range(1, 18)]
    assert found["P1"] == [
        ["kills of a", "20", "20", "1.5"],
        ["kills of b", "1,000", "**998**", "0.1"],
    ]
    assert found["P3"] == found["P1"][:1]
    assert found["P4"] == [["errors", "7", "7, then it broke off", "0.1"]]
    assert found["P2"] == [["not tried", "", "", ""]]


def test_records_of_all_processes_are_read(tmp_path, monkeypatch):
    for process in (11, 12):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        report = Report()
        tries = report("P1", f"what {process} tried")
        tries.add(3)
        tries.add(2, 1)
        report.close(failed=True, folder=tmp_path)
    found = read_records(tmp_path)
    assert [(tries.what, tries.tried, tries.held) for tries in found] == [
        ("what 11 tried", 5, 4),
        ("what 12 tried", 5, 4),
    ]
    assert not found[0].broke_off  # what did not hold says enough


def test_a_failure_that_no_figure_shows_is_said(tmp_path):
    report = Report()
    report("P1", "all held").add(2)
    report.close(failed=True, folder=tmp_path)
    assert read_records(tmp_path)[0].broke_off


@pytest.mark.parametrize(("minutes", "expected"), [(60, 40), (30, 20), (300, 40), (0.1, 4)])
def test_shorter_campaigns_try_less_and_longer_ones_no_more(monkeypatch, minutes, expected):
    monkeypatch.setattr(campaign, "MINUTES", minutes)
    assert campaign.scaled(40, 4) == expected


def test_the_table_stands_between_its_marks(tmp_path):
    path = tmp_path / "r.md"
    path.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    campaign.write_between_marks(path, "new\n")
    assert path.read_text() == f"above\n{BEGIN}\nnew\n{END}\nbelow\n"
    path.write_text("no marks")
    with pytest.raises(ValueError, match="does not have the lines"):
        campaign.write_between_marks(path, "new\n")


def test_the_page_has_a_row_for_every_promise():
    text = DOCS.read_text("utf-8")
    assert BEGIN in text and END in text
    assert set(rows(text)) == set(PROMISES)


@pytest.mark.slow
def test_the_command_writes_the_table_from_all_its_processes(tmp_path):
    """The test is not that a campaign is long, but that it is said what was tried."""
    (tmp_path / "test_two.py").write_text(
        "import pytest\n"
        "@pytest.mark.campaign\n"
        "@pytest.mark.parametrize('number', [1, 2])\n"
        "def test_one(report, number):\n"
        "    report('P2', f'number {number}').add(5, 4)\n"
        "    assert number == 1\n"
        "def test_short(report):\n"
        "    report('P2', 'an everyday test').add(1)\n"
    )
    page, here = tmp_path / "r.md", Path(__file__).parent
    page.write_text(f"{BEGIN}\n{END}\n")
    configuration = here.parent / "pyproject.toml"
    line = [sys.executable, "-m", "pytest", "-q", "-c", configuration, "-p", "no:cacheprovider"]
    line += ["-p", "conftest", "--numprocesses", "2", "--reliability", page, tmp_path]
    how = {"capture_output": True, "text": True, "cwd": here, "check": False}
    campaigns = subprocess.run([*line, "-m", "campaign"], **how)
    assert campaigns.returncode == 1, campaigns.stdout
    found = rows(page.read_text())
    assert [cells[:3] for cells in found["P2"]] == [
        ["number 1", "5", "**4**"],
        ["number 2", "5", "**4**"],
    ]
    before = page.read_text()
    assert subprocess.run(line, **how).returncode == 0
    assert page.read_text() == before
