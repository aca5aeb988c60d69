"""Ratios of PSDS to sed_scores_eval and psds_eval, side by side in one run; see README.md.

Those need older packages, so they get an environment of their own: it is made in the folder given
by ``--environment``, and found there the next time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from sedtool.config.evaluation import PSDS_SCENARIOS
from sedtool.evaluation.psds import psds_from_lists, psds_from_scores
from sedtool.labels import Event, StrongLabels, read_events, write_events
from sedtool.score_tables import FrameScores, write_score_tables

PACKAGES = ("sed_scores_eval==0.0.4", "psds_eval==0.5.3", "pandas<3", "numpy<2.4")
CLASSES = tuple(f"class {k}" for k in range(10))
DURATION = 10.0  # seconds a clip
PEERS = {
    "psds1": "sed_scores_eval 0.0.4",
    "psds2": "sed_scores_eval 0.0.4",
    "psds2-lists": "psds_eval 0.5.3",
}
Job = Callable[[], float]


def environment(folder: Path) -> Path:
    """Make the environment of the reference tools, unless it is there; return its Python."""
    python = folder / "bin" / "python"
    ready = folder / "ready.json"
    if not ready.exists() or json.loads(ready.read_text()) != list(PACKAGES):
        print(f"installing {', '.join(PACKAGES)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        ready.write_text(json.dumps(PACKAGES))
    return python


class Data:
    """Random events in clips, and scores that know something of them."""

    def __init__(self, n_clips: int, n_frames: int) -> None:
        rng = np.random.default_rng(0)
        names = tuple(f"{i}.wav" for i in range(n_clips))
        self.times = np.round(np.linspace(0, DURATION, n_frames + 1), 6)
        events: list[Event] = []
        self.scores = []
        for name in names:
            noise = gaussian_filter1d(rng.normal(size=(n_frames, len(CLASSES))), 3, axis=0)
            logits = 4 * noise - 3
            for k in rng.permutation(len(CLASSES))[: rng.integers(0, 5)]:
                onset = round(rng.uniform(0, 8), 3)
                end = round(min(onset + rng.exponential(2.5) + 0.2, DURATION), 3)
                events.append(Event(name, onset, end, CLASSES[k]))
                logits[(self.times[:-1] >= onset) & (self.times[:-1] < end), k] += 4
            scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
            self.scores.append(FrameScores(name, self.times, scores))
        self.reference = StrongLabels(events, names)
        self.durations = dict.fromkeys(names, DURATION)
        self.lists = [self._above(threshold) for threshold in np.linspace(0.01, 0.99, 50)]

    def _above(self, threshold: float) -> StrongLabels:
        events = []
        for clip in self.scores:
            active = np.pad(clip.scores > threshold, ((1, 1), (0, 0))).astype(np.int8)
            edges = np.diff(active, axis=0).T
            ends = zip(*np.nonzero(edges == 1), np.nonzero(edges == -1)[1], strict=True)
            events += [
                Event(clip.name, float(self.times[a]), float(self.times[b]), CLASSES[k])
                for k, a, b in ends
            ]
        return StrongLabels(events, self.reference.names)

    def write(self, folder: Path) -> None:
        """Write what the reference tools read, and take on what files can say of the lists."""
        write_score_tables(folder / "scores", CLASSES, self.scores)
        write_events(folder / "reference.tsv", self.reference)
        rows = [f"{name}\t{seconds}\n" for name, seconds in self.durations.items()]
        (folder / "durations.tsv").write_text("".join(["filename\tduration\n", *rows]))
        (folder / "lists").mkdir()
        paths = [folder / "lists" / f"{i:02}.tsv" for i in range(len(self.lists))]
        for path, labels in zip(paths, self.lists, strict=True):
            write_events(path, labels)
        self.lists = [read_events(path) for path in paths]

    def jobs(self) -> dict[str, Job]:
        """Return what sedtool is timed at."""
        known = {"durations": self.durations}
        one, two = PSDS_SCENARIOS.values()
        scores, lists, reference = self.scores, self.lists, self.reference
        return {
            "psds1": lambda: psds_from_scores(reference, scores, CLASSES, [one], **known)[0].value,
            "psds2": lambda: psds_from_scores(reference, scores, CLASSES, [two], **known)[0].value,
            "psds2-lists": lambda: psds_from_lists(reference, lists, [two], **known)[0].value,
        }


@contextmanager
def reference_tools(python: Path, folder: Path) -> Iterator[Callable[[str], tuple[float, float]]]:
    """Start the reference tools; yield a function from a job to its CPU seconds and result."""
    script = Path(__file__).with_name("psds_reference.py")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [python, script, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | threads,
    )
    with process:
        assert process.stdin and process.stdout
        process.stdout.readline()

        def ask(job: str) -> tuple[float, float]:
            print(job, file=process.stdin, flush=True)
            seconds, value = json.loads(process.stdout.readline())
            return seconds, value

        yield ask
        process.stdin.close()


def main() -> None:
    """Print a line for each benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--environment", type=Path, required=True, metavar="DIR")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--frames", type=int, default=156, help="a clip of ten seconds")
    options = parser.parse_args()
    python = environment(options.environment)
    data = Data(options.clips, options.frames)
    with tempfile.TemporaryDirectory() as folder:
        data.write(Path(folder))
        with reference_tools(python, Path(folder)) as theirs:
            compare(data.jobs(), theirs, options.names or list(PEERS), options.runs)


def compare(
    ours: dict[str, Job],
    theirs: Callable[[str], tuple[float, float]],
    names: list[str],
    runs: int,
) -> None:
    """Time both in turn."""
    print("| benchmark | peer | times faster (median) | spread | seconds | largest difference |")
    print("|---|---|---|---|---|---|")
    for name in names:
        ours[name]()  # warm up
        ratios, times, differences = [], [], []
        for _ in range(runs):
            started = time.process_time()
            value = ours[name]()
            times.append(time.process_time() - started)
            seconds, expected = theirs(name)
            ratios.append(seconds / times[-1])
            differences.append(abs(value - expected))
        cells = (
            name,
            PEERS[name],
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            f"{statistics.median(times):.3f}",
            f"{max(differences):.1e}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
