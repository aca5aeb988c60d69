"""Fixtures that several test modules use."""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings

from sedtool.audio import write_wav
from sedtool.config import ARCHITECTURES, FEATURE_PRESETS
from sedtool.extraction import extract
from sedtool.labels import Event, StrongLabels, write_events, write_weak
from support import campaign, forks, jobs, published, sweeps
from support.audio import BAD_FILES, RATE
from support.training import NANO, Tiny

# A busy machine must not fail a property test, nor a random example a run of CI.
settings.register_profile("sedtool", deadline=None, derandomize=True)
settings.load_profile("sedtool")

FAILED = pytest.StashKey[bool]()  # of a test: whether it failed
STARTED = pytest.StashKey[float]()  # of a session


def pytest_addoption(parser):
    said = "write the table of campaigns into this file, between its marks"
    parser.addoption("--reliability", type=Path, metavar="FILE", help=said)


def pytest_configure(config):
    """Make the folder of records, which the processes of xdist inherit."""
    config.stash[STARTED] = time.monotonic()
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="sedtool-campaign-")
        os.environ[campaign.FOLDER] = folder.name
        config.add_cleanup(folder.cleanup)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def pytest_terminal_summary(terminalreporter, config):
    """Print what campaigns tried and what held, if any were run."""
    records = campaign.read_records(Path(os.environ[campaign.FOLDER]))
    if records:
        text = campaign.table(records, time.monotonic() - config.stash[STARTED])
        terminalreporter.section("campaigns")
        terminalreporter.write(text)
        if path := config.getoption("--reliability"):
            campaign.write_between_marks(path, text)


@pytest.fixture(autouse=True)
def logs():
    """Let what the library logs through, whatever the command line of an earlier test shows."""
    logger = logging.getLogger("sedtool")
    logger.handlers = []
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def report(request) -> Iterator[campaign.Report]:
    """Return what a test tells what it tries; of campaigns it is kept for the table."""
    told = campaign.Report()
    yield told
    if request.node.get_closest_marker("campaign"):
        folder = Path(os.environ[campaign.FOLDER])
        told.close(request.node.stash.get(FAILED, False), folder)


@pytest.fixture
def bad_files(tmp_path: Path) -> dict[str, Path]:
    """Files that cannot be used, some of which are no files, by name."""
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, (content, _) in BAD_FILES.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "fifo.wav")
    (folder / "broken link.wav").symlink_to("nowhere.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def make_clips(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a folder of short clips of noise at several rates."""

    def make(count: int = 5) -> Path:
        kinds = [("wav", 16_000), ("flac", 44_100), ("ogg", 22_050), ("aiff", 8_000)]
        for i in range(count):
            kind, rate = kinds[i % len(kinds)]
            path = tmp_path / "clips" / f"{'ab'[i % 2]}" / f"{i:03d}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            wave = np.random.default_rng(i).uniform(-0.5, 0.5, rate // 4 + 700 * i)
            soundfile.write(path, wave, rate)
        return tmp_path / "clips"

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    audio, weak, strong = folder / "audio", {}, []
    for i in range(24):
        label = ("tone", "noise")[i % 2]
        name = f"{'train' if i < 16 else 'val'}/{label}_{i}.wav"
        onset, offset = 0.2, 0.7
        wave = 0.001 * rng.standard_normal(RATE)
        span = slice(int(onset * RATE), int(offset * RATE))
        time = np.arange(span.stop - span.start) / RATE
        tone = 0.3 * np.sin(2 * np.pi * rng.uniform(500, 2000) * time)
        wave[span] += tone if label == "tone" else 0.1 * rng.standard_normal(len(time))
        (audio / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(audio / name, wave, RATE)
        if i < 16:
            weak[name] = (label,)
        else:
            strong.append(Event(name, onset, offset, label))
    labels = StrongLabels(strong, tuple(event.name for event in strong))
    tiny = Tiny(
        audio, folder / "features.h5", folder / "weak.tsv", folder / "strong.tsv", folder / "v.tsv"
    )
    extract([audio], tiny.features, FEATURE_PRESETS["dcase2017"], root=audio)
    write_weak(tiny.weak, weak)
    write_weak(tiny.weak_validation, labels.weak())
    write_events(tiny.strong, labels)
    return tiny


@pytest.fixture(scope="session")
def given(tiny, tmp_path_factory):
    """Return what the lines of `support.jobs` read, made once."""
    folder = tmp_path_factory.mktemp("jobs")
    return Path(forks.program(jobs.__file__, jobs.text_of(tiny), folder))


@pytest.fixture(scope="module")
def nano():
    """Make the tiny network of `support.training` known as "nano"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "nano", NANO)
        yield


@pytest.fixture
def stages(monkeypatch):
    """Return the command lines of the stages that sweeps run."""
    return sweeps.watched_stages(monkeypatch)


@pytest.fixture
def data(tiny, tmp_path):
    """A data folder with the recipe of a sweep in it."""
    return sweeps.data_folder(tiny, tmp_path / "the data")


@pytest.fixture(params=published.EVERY, ids=lambda lists: "whole" if lists.whole else "excerpt")
def published_lists(request):
    """The published label lists: excerpts, and the whole ones where they are."""
    return request.param
