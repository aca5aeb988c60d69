"""What campaigns report: for each promise of sedtool, what was tried and what held.

Each process that runs tests adds lines of JSON to a shared folder; the table is made of them all.
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import soundfile
import torch

FOLDER = "CAMPAIGN_RECORDS"  # environment: where the processes of a session write
MINUTES = float(os.environ.get("CAMPAIGN_MINUTES", "60"))
USUAL_MINUTES = 60.0
BEGIN, END = "<!-- campaign: begin -->", "<!-- campaign: end -->"

PROMISES = {
    "P1": "A file under its final name is whole, whatever kills sedtool",
    "P2": "What is incomplete is never taken for complete",
    "P3": "The same command goes on, and ends in the same bytes",
    "P4": "A failing disk: exit code 6, one line, the old output untouched",
    "P5": "Of two runs on one output one works, and the other stops at once",
    "P6": "A bad audio file stops no run and changes no other clip",
    "P7": "No NaN and no infinity gets into features, weights or scores",
    "P8": "A changed byte in an artifact is an error or harmless",
    "P9": "Files of strangers run no code, exhaust no memory and do not hang",
    "P10": "A signal ends a training, saved, with exit code 75, or 130 for Ctrl-C",
    "P11": "A resumed training is bit-exact on a CPU",
    "P12": "A kill costs at most `--save-every`, and never the state before",
    "P13": "A training that diverges stops, and its best model is intact",
    "P14": "A name comes out as it went in, or is refused by name",
    "P15": "A row of a table is read as it stands, or refused with its line",
    "P16": "A line of stderr for a problem, stdout for data only",
    "P17": "Memory is bounded by settings, and not by input",
}


def scaled(count: int, least: int = 1) -> int:
    """Return how often to try what is tried `count` times in a campaign of the usual length."""
    return max(least, round(count * min(MINUTES / USUAL_MINUTES, 1.0)))


@dataclass
class Tries:
    """What one test tried, for some promises; `broke_off` says that it did not get to its end."""

    promises: str  # with spaces between them
    what: str
    tried: int = 0
    held: int = 0
    seconds: float = 0.0
    broke_off: bool = False

    def add(self, tried: int, held: int | None = None) -> None:
        self.tried += tried
        self.held += tried if held is None else held


class Report:
    """The tries of a test; called with promises and words, it begins some."""

    def __init__(self) -> None:
        self._tries: list[tuple[Tries, float]] = []

    def __call__(self, promises: str, what: str) -> Tries:
        tries = Tries(promises, what)
        self._tries.append((tries, time.monotonic()))
        return tries

    def close(self, failed: bool, folder: Path) -> None:
        """Add what was tried to the records in a folder."""
        now = time.monotonic()
        with (folder / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as stream:
            for tries, since in self._tries:
                tries.seconds = now - since
                tries.broke_off = failed and tries.held == tries.tried
                stream.write(json.dumps(dataclasses.asdict(tries)) + "\n")


def read_records(folder: Path) -> list[Tries]:
    """Return what all processes tried, in an order that does not depend on them."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    found = [Tries(**json.loads(line)) for line in lines]
    return sorted(found, key=lambda tries: (tries.what, tries.promises))


def versions() -> str:
    """Return what the figures were made with."""
    sedtool = importlib.metadata.version("sedtool")
    return (
        f"sedtool {sedtool}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"h5py {h5py.__version__} (HDF5 {h5py.version.hdf5_version}), "
        f"libsndfile {soundfile.__libsndfile_version__}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    )


def table(records: Iterable[Tries], seconds: float) -> str:
    """Return the report: when and with what, a row for each promise and campaign, what failed."""
    records = list(records)
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {seconds / 60:.0f} min, "
        f"`CAMPAIGN_MINUTES={MINUTES:g}`; {versions()}.",
        "",
        "| promise | tried | how often | held | min |",
        "|---|---|---|---|---|",
    ]
    for number, promise in PROMISES.items():
        ours = [tries for tries in records if number in tries.promises.split()]
        head = f"**{number}** {promise}"
        for tries in ours:
            held = f"{tries.held:,}" if tries.held == tries.tried else f"**{tries.held:,}**"
            held += ", then it broke off" if tries.broke_off else ""
            figures = f"{tries.tried:,} | {held} | {tries.seconds / 60:.1f}"
            lines.append(f"| {head} | {tries.what} | {figures} |")
            head = ""
        if not ours:
            lines.append(f"| {head} | not tried | | | |")
    return "\n".join(lines) + "\n"


def write_between_marks(path: Path, text: str) -> None:
    """Put a text between the marks in a file, which stay."""
    before, _, rest = path.read_text("utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{path} does not have the lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}", "utf-8")
