"""Cases of golden/psds as labels and scores, and events by brute force."""

import math

import numpy as np

from sedtool.labels import Event, StrongLabels
from sedtool.score_tables import FrameScores


def labels_of(case):
    events = [
        Event(name, *event) for name, clip in case["clips"].items() for event in clip["events"]
    ]
    return StrongLabels(events, tuple(case["clips"]))


def scores_of(case):
    return [
        FrameScores(name, np.array(clip["times"]), np.array(clip["scores"]))
        for name, clip in case["clips"].items()
    ]


def events_above(clips, classes, threshold):
    """Threshold frame by frame, as slowly as can be."""
    events = []
    for clip in clips:
        for k, label in enumerate(classes):
            onset = None
            for t, score in enumerate([*clip.scores[:, k], -math.inf]):
                if score > threshold and onset is None:
                    onset = clip.times[t]
                if not score > threshold and onset is not None:
                    events.append(Event(clip.name, float(onset), float(clip.times[t]), label))
                    onset = None
    return events
