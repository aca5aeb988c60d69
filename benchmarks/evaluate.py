"""Reading two event lists and scoring them, against sed_eval with rows grouped once.

    python benchmarks/evaluate.py [--reference TSV --estimated TSV] [--runs 9] [--scale 1,10,100]
    python benchmarks/evaluate.py --large

Both sides read the same two files and compute event-based, segment-based and clip-level scores, in
turn, in one process, in user CPU seconds of one thread. The peer reads with `str.split`, as fast
as Python can, and groups its rows by clip once; its clip metric is that of the DCASE 2019 baseline.
The scores of both sides must agree, or there is no ratio. Then sedtool alone is measured on lists
with more clips, each in a process of its own. Without files, lists of 1168 clips are drawn. The
second line says what a million clips with 500 classes, resampled, cost.
"""

import argparse
import importlib.metadata
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy starts its threads

import numpy as np

from sedtool.config import EvaluationConfig
from sedtool.evaluation import evaluate
from sedtool.labels import Event, StrongLabels, read_events, write_events

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import sed_eval

N_CLIPS = 1168  # of the DCASE 2019 validation set
CONFIG = EvaluationConfig(compat="dcase")
Rows = dict[str, list[dict[str, object]]]


def draw(folder: Path) -> tuple[Path, Path]:
    """Write lists as long as those of the DCASE 2019 baseline; most estimates fit."""
    rng = np.random.default_rng(0)
    names = tuple(f"Y{i:011d}_{i % 300}.000_{i % 300 + 10}.000.wav" for i in range(N_CLIPS))
    reference, estimated = [], []
    for _ in range(4236):
        name, label = names[rng.integers(N_CLIPS)], f"class {rng.integers(10)}"
        onset = rng.uniform(0, 9)
        offset = min(onset + rng.exponential(2) + 0.1, 10)
        reference.append(Event(name, round(onset, 3), round(offset, 3), label))
        if rng.random() < 0.7:
            first = max(onset + rng.normal(0, 0.3), 0)
            estimated.append(Event(name, first, first + offset - onset, label))
    paths = folder / "reference.tsv", folder / "estimated.tsv"
    for path, events in zip(paths, (reference, estimated), strict=True):
        write_events(path, StrongLabels(events, names))
    return paths


def by_sedtool(reference: Path, estimated: Path) -> tuple[float, ...]:
    """Return event, segment and clip macro F1."""
    result = evaluate(read_events(reference), read_events(estimated), CONFIG)
    return result.event.macro.f1, result.segment.macro.f1, result.clip.macro.f1


def by_sed_eval(reference: Path, estimated: Path) -> tuple[float, ...]:
    """Return the same by sed_eval, as the DCASE 2019 baseline calls it."""
    sides = grouped(reference), grouped(estimated)
    labels = sorted({str(row["event_label"]) for s in sides for c in s.values() for row in c})
    events = sed_eval.sound_event.EventBasedMetrics(
        labels, t_collar=0.2, percentage_of_length=0.2, empty_system_output_handling="zero_score"
    )
    segments = sed_eval.sound_event.SegmentBasedMetrics(labels, time_resolution=1.0)
    for name, rows in sides[0].items():
        events.evaluate(rows, sides[1].get(name, []))
        segments.evaluate(rows, sides[1].get(name, []))
    rates = [m.results_class_wise_average_metrics()["f_measure"] for m in (events, segments)]
    return (*(float(rate["f_measure"]) for rate in rates), clip_f1(*sides, labels))


def grouped(path: Path) -> Rows:
    """Read an event list, a list of rows a clip."""
    rows: Rows = defaultdict(list)
    header, *lines = path.read_text("utf-8").splitlines()
    at = [header.split("\t").index(c) for c in ("filename", "onset", "offset", "event_label")]
    for line in lines:
        cells = line.split("\t")
        name, onset, offset, label = (cells[k] for k in at)
        events = rows[name]
        if label:
            times = {"event_onset": float(onset), "event_offset": float(offset)}
            events.append({"event_label": label, **times})
    return rows


def clip_f1(reference: Rows, estimated: Rows, labels: list[str]) -> float:
    """Return the macro F1 of clips as the DCASE 2019 baseline defines it."""
    number = {label: k for k, label in enumerate(labels)}
    counts = np.zeros((2, len(labels)))
    for name in reference.keys() | estimated.keys():
        first, second = (
            {number[row["event_label"]] for row in side.get(name, [])}
            for side in (reference, estimated)
        )
        counts[0, list(first & second)] += 2
        counts[1, list(first | second)] += 1
    tp2, union = counts
    return float(np.mean(tp2 / np.maximum(union + tp2 / 2, 1)))


def user_seconds() -> float:
    """Return the user CPU seconds of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def seconds(job: Callable[[], object], repeat: int = 1) -> float:
    """Return the user CPU seconds of a call."""
    started = user_seconds()
    for _ in range(repeat):
        job()
    return (user_seconds() - started) / repeat


def compare(reference: Path, estimated: Path, runs: int) -> None:
    """Print the ratio of both sides, measured in turn."""
    ours, theirs = by_sedtool(reference, estimated), by_sed_eval(reference, estimated)
    if not np.allclose(ours, theirs, atol=1e-9, rtol=0):
        sys.exit(f"sedtool says {ours}, sed_eval {theirs}: no ratio")
    print(f"macro F1 of events, segments, clips, both sides: {', '.join(f'{f:.4f}' for f in ours)}")
    pairs = []
    for _ in range(runs):
        fast = seconds(lambda: by_sedtool(reference, estimated), repeat=20)
        pairs.append((fast, seconds(lambda: by_sed_eval(reference, estimated))))
    ratios = sorted(slow / fast for fast, slow in pairs)
    fast, slow = (min(column) for column in zip(*pairs, strict=True))
    print(f"sedtool, user CPU ms: {1e3 * fast:.1f}; sed_eval: {1e3 * slow:.0f} (least of {runs})")
    print(
        f"times faster: {slow / fast:.1f} (least to least), {statistics.median(ratios):.1f} "
        f"(median of pairs), {ratios[0]:.1f} to {ratios[-1]:.1f}"
    )


def grow(reference: Path, estimated: Path, scales: list[int]) -> None:
    """Print the cost of lists with the clips of these many times over."""
    print("| times the clips | user CPU s | most memory MB |\n|---|---|---|")
    for scale in scales:
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(repeated(p, scale, Path(folder))) for p in (reference, estimated)]
            child = [sys.executable, __file__, "--once", *paths]
            print(subprocess.run(child, check=True, capture_output=True, text=True).stdout, end="")


def repeated(path: Path, scale: int, folder: Path) -> Path:
    """Write a list with `scale` copies of every clip."""
    labels = read_events(path)
    name, *rest = labels.columns
    copies = [f"{i}/" for i in range(scale)]
    columns = [[copy + n for copy in copies for n in name], *(c and list(c) * scale for c in rest)]
    names = tuple(copy + n for copy in copies for n in labels.names)
    write_events(
        folder / path.name,
        StrongLabels.from_columns(type(labels.columns)(*columns), names),
    )
    return folder / path.name


def once(reference: Path, estimated: Path) -> None:
    """Print a row of the table of growth, measured in this process."""
    scale = len(read_events(reference).names) / N_CLIPS
    least = min(seconds(lambda: by_sedtool(reference, estimated)) for _ in range(3))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {scale:.0f} | {least:.3f} | {peak:.0f} |")


def large(
    folder: Path, n_clips: int = 1_000_000, n_classes: int = 500, resamples: int = 20
) -> None:
    """Print what lists of a million clips with 500 classes cost, read, scored and resampled."""
    rng = np.random.default_rng(0)
    clip = np.repeat(np.arange(n_clips), rng.integers(1, 5, n_clips))
    label, onset = rng.integers(n_classes, size=clip.size), rng.uniform(0, 9, clip.size)
    length = rng.exponential(1.5, clip.size) + 0.1
    paths = folder / "reference.tsv", folder / "estimated.tsv"
    write_rows(paths[0], clip, label, onset, length)
    kept = rng.random(clip.size) < 0.8
    moved = np.maximum(onset + rng.normal(0, 0.15, clip.size), 0)
    other = np.where(rng.random(clip.size) < 0.3, rng.integers(n_classes, size=clip.size), label)
    write_rows(paths[1], clip[kept], other[kept], moved[kept], length[kept])
    line = ["-m", "sedtool", "evaluate", *map(str, paths), "--bootstrap", str(resamples)]
    subprocess.run([sys.executable, *line], check=True, capture_output=True)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{n_clips} clips, {n_classes} classes, {clip.size} and {kept.sum()} events, {resamples} "
        f"resamples: {usage.ru_utime:.1f} user CPU s, most memory {usage.ru_maxrss / 2**20:.2f} GB"
    )


def write_rows(
    path: Path, clip: np.ndarray, label: np.ndarray, onset: np.ndarray, length: np.ndarray
) -> None:
    """Write an event list."""
    columns = (column.tolist() for column in (clip, onset, onset + length, label))
    with path.open("w", encoding="utf-8") as stream:
        stream.write("filename\tonset\toffset\tevent_label\n")
        for i, first, last, k in zip(*columns, strict=True):
            stream.write(f"{i:07d}.wav\t{first:.2f}\t{last:.2f}\tclass {k}\n")


def main() -> None:
    """Print the ratio, and how the cost grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--estimated", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--scale", default="1,10,100", help="times the clips, comma-separated")
    parser.add_argument("--large", action="store_true", help="a million clips with 500 classes")
    parser.add_argument("--once", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        return once(*options.once)
    versions = ((name, importlib.metadata.version(name)) for name in ("sed_eval", "numpy", "scipy"))
    print(f"Python {platform.python_version()}, {', '.join(' '.join(v) for v in versions)}")
    with tempfile.TemporaryDirectory() as folder:
        if options.large:
            return large(Path(folder))
        drawn = draw(Path(folder))
        reference, estimated = options.reference or drawn[0], options.estimated or drawn[1]
        compare(reference, estimated, options.runs)
        grow(reference, estimated, [int(scale) for scale in options.scale.split(",")])


if __name__ == "__main__":
    main()
