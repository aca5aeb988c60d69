"""Writes golden.json: random scores and labels, and what the reference tools say of them.

Run it in an environment of its own, which `python benchmarks/psds.py --environment DIR` makes:
sed_scores_eval 0.0.4, psds_eval 0.5.3, which need pandas below 3 and NumPy below 2.4
(DIR/bin/python tests/golden/psds/generate.py). sedtool is not imported; the tests read the file.
"""

import importlib.metadata
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from psds_eval import PSDSEval
from scipy.ndimage import gaussian_filter1d, median_filter
from sed_scores_eval import intersection_based
from sed_scores_eval.base_modules.scores import create_score_dataframe

COLUMNS = ["filename", "onset", "offset", "event_label"]
SCENARIOS = [
    {"dtc": 0.7, "gtc": 0.7, "cttc": 0.3, "alpha_ct": 0.0, "alpha_st": 1.0, "max_efpr": 100.0},
    {"dtc": 0.1, "gtc": 0.1, "cttc": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0, "max_efpr": 100.0},
    {"dtc": 0.5, "gtc": 0.4, "cttc": 0.2, "alpha_ct": 1.0, "alpha_st": 0.0, "max_efpr": 2500.0},
]
CASES = {  # clips, frames, frame length in seconds, classes, decimals of the scores
    "smooth": (5, 60, 0.16, 3, 3),
    "noisy": (4, 50, 0.2, 4, 3),
    "plateaus": (6, 40, 0.25, 3, 1),  # many equal scores
    "two-classes": (4, 40, 0.1, 2, 2),
    "uneven-frames": (3, 30, None, 3, 2),
}
# Clips are said to last this much longer than their scores: else one false positive fills the hour.
STRETCH = 40
THRESHOLDS = [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]


def make_clip(rng, n_frames, step, classes, decimals, smooth):
    """Return times, scores and events of a clip; one in four has no events."""
    if step is None:
        times = np.round(np.append(0, np.cumsum(rng.uniform(0.05, 0.6, n_frames))), 3)
    else:
        times = np.round(np.arange(n_frames + 1) * step, 3)
    silent = rng.random() < 0.25
    events = []
    target = np.zeros((n_frames, len(classes)))
    for k, label in enumerate(classes):
        end = 0.0
        while not silent and rng.random() < 0.7:
            onset = round(end + rng.uniform(0.05, 0.3) * times[-1], 3)
            end = round(onset + rng.uniform(0.05, 0.4) * times[-1], 3)
            if end > times[-1]:
                break
            events.append((onset, end, label))
            target[(times[:-1] >= onset) & (times[1:] <= end), k] = 1
    noise = rng.normal(size=target.shape)
    if smooth:
        noise = 2 * gaussian_filter1d(noise, 2, axis=0)
    scores = 1 / (1 + np.exp(-(2.5 * target - 1 + 1.2 * noise)))
    scores = np.round(scores, decimals)
    if smooth:
        scores = median_filter(scores, (3, 1))
    return times, scores, sorted(events)


def make_case(seed, n_clips, n_frames, step, n_classes, decimals):
    """Return the clips of a case; every class has an event."""
    rng = np.random.default_rng(seed)
    classes = ["Cat", "Dog", "Speech", "Vacuum cleaner"][:n_classes]
    while True:
        clips = {
            f"clip {i}": make_clip(rng, n_frames, step, classes, decimals, smooth=i % 2 == 0)
            for i in range(n_clips)
        }
        if {label for _, _, events in clips.values() for *_, label in events} == set(classes):
            return classes, clips


def runs(active, times):
    """Return (onset, offset) of each run of active frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(int), [0]])))
    return [(times[a], times[b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def detections(classes, clips, threshold):
    """Return the events above a threshold as a table."""
    rows = [
        (name, onset, offset, label)
        for name, (times, scores, _) in clips.items()
        for k, label in enumerate(classes)
        for onset, offset in runs(scores[:, k] > threshold, times)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def durations(clips):
    """Return the seconds of each clip."""
    return {name: STRETCH * float(times[-1]) for name, (times, *_) in clips.items()}


def from_scores(classes, clips, scenario):
    """Return what sed_scores_eval says."""
    frames = {
        name: create_score_dataframe(scores, times, classes)
        for name, (times, scores, _) in clips.items()
    }
    truth = {name: [list(event) for event in events] for name, (*_, events) in clips.items()}
    shares = {"dtc_threshold": scenario["dtc"], "gtc_threshold": scenario["gtc"]}
    value, by_class, _, _ = intersection_based.psds(
        scores=frames,
        ground_truth=truth,
        audio_durations=durations(clips),
        cttc_threshold=scenario["cttc"] if scenario["alpha_ct"] else None,
        **shares,
        **{key: scenario[key] for key in ("alpha_ct", "alpha_st", "max_efpr")},
    )
    statistics, _ = intersection_based.accumulated_intermediate_statistics(
        frames, truth, cttc_threshold=scenario["cttc"], **shares
    )
    points = {}
    for label, (at, counts) in statistics.items():
        rows = [int(np.argmax(at > threshold)) for threshold in THRESHOLDS]
        points[label] = {
            "tp": [int(counts["tps"][i]) for i in rows],
            "fp": [int(counts["fps"][i]) for i in rows],
            "cross": {k: [int(v[i]) for i in rows] for k, v in counts["cts"].items()},
        }
    heights = {label: float(height) for label, height in by_class.items()}
    return {"psds": float(value), "classes": heights, "points": points}


def from_lists(classes, clips, scenario):
    """Return what psds_eval says of the lists at all thresholds."""
    rows = [(name, *event) for name, (*_, events) in clips.items() for event in events]
    tool = PSDSEval(
        scenario["dtc"],
        scenario["gtc"],
        scenario["cttc"],
        ground_truth=pd.DataFrame(rows, columns=COLUMNS),
        metadata=pd.DataFrame(durations(clips).items(), columns=["filename", "duration"]),
    )
    for threshold in THRESHOLDS:
        tool.add_operating_point(detections(classes, clips, threshold))
    score = tool.psds(scenario["alpha_ct"], scenario["alpha_st"], scenario["max_efpr"])
    _, by_class = tool.compute_macro_f_score(detections(classes, clips, 0.45))
    return {
        "psds": float(score.value),
        "f1": {label: None if np.isnan(f) else float(f) for label, f in by_class.items()},
    }


def main():
    """Write the file."""
    warnings.simplefilter("ignore")
    cases = {}
    for seed, (name, shape) in enumerate(CASES.items()):
        classes, clips = make_case(seed, *shape)
        cases[name] = {
            "classes": classes,
            "durations": durations(clips),
            "clips": {
                clip: {"times": times.tolist(), "scores": scores.tolist(), "events": events}
                for clip, (times, scores, events) in clips.items()
            },
            "expected": [
                scenario
                | {"from_scores": from_scores(classes, clips, scenario)}
                | {"from_lists": from_lists(classes, clips, scenario)}
                for scenario in SCENARIOS
            ],
        }
    tools = ("sed_scores_eval", "psds_eval", "pandas", "numpy")
    versions = {tool: importlib.metadata.version(tool) for tool in tools}
    golden = {"versions": versions, "thresholds": THRESHOLDS, "cases": cases}
    text = json.dumps(golden, separators=(",", ":"))
    Path(__file__).with_name("golden.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
