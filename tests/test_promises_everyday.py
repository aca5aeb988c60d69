"""Promises whose tests are short enough for every day: campaigns count them, too."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# Promises, what is tried, test files, and which of their tests.
EVERYDAY = {
    "P5": ("a second run while the first is at work", ["inference_faults", "extraction_faults",
           "training_faults", "merge", "sweep"], "second or twice or at_once or locked"),
    "P7 P13": ("NaN, infinity, overflow and ruined weights in a training", ["training_faults"],
               "nan or finite or too_high or overflow or ruined"),
    "P7": ("NaN and infinity in audio, features, models, scores and labels", ["audio", "store",
           "score_files", "checkpoint", "labels", "labels_tables", "formats", "hostile_models"],
           "finite or nan or inf or none or bad or number or scores"),
    "P8 P9": ("features of strangers made by hand, damaged artifacts", ["store_hostile", "store",
              "checkpoint", "score_files"], "hostile or damaged or flip or byte or digest"),
    "P15": ("tables by property, both ways", ["labels", "labels_tables", "labels_names", "formats",
            "checking_files", "dialect", "tables_mutated"], ""),
    "P16": ("streams, closed pipes, full devices, names with control bytes", ["streams",
            "terminal", "exit_codes", "exit_codes_machine"], ""),
    "P10 P16": ("signals at the edges of a run", ["signals"], ""),
    "P2 P4": ("full disks, read-only folders, and unfinished inputs", ["exit_codes_machine",
              "atomic", "streams", "training_faults"], "disk or full or written or unfinished"),
}  # fmt: skip


@pytest.mark.campaign
@pytest.mark.parametrize("promises", EVERYDAY)
def test_everyday_tests_of_a_promise_hold(tmp_path, report, promises):
    what, names, which = EVERYDAY[promises]
    files = [str(path) for name in names if (path := TESTS / f"test_{name}.py").exists()]
    tries = report(promises, f"everyday tests: {what}")
    found = tmp_path / "found.xml"
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    line += [*files, "-k", which, f"--junitxml={found}", f"--basetemp={tmp_path / 'tmp'}"]
    ours = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    done = subprocess.run(line, capture_output=True, text=True, env=ours, cwd=TESTS.parent)
    suite = ElementTree.parse(found).getroot()[0].attrib
    tried = int(suite["tests"]) - int(suite["skipped"])
    tries.add(tried, tried - int(suite["failures"]) - int(suite["errors"]))
    assert done.returncode == 0, done.stdout[-3000:]
