"""Polyphonic sound detection score: intersection-based ROC curves of all classes in one number.

Conventions
-----------
Events are judged as in `sedtool.evaluation.intersection`, at every threshold. For each class::

    TPR  = true positives / references
    eFPR = (false positives / duration of all clips
            + alpha_ct * mean over other classes of cross-triggers / their total length) per hour

The curve of a class is a staircase: at a rate, the highest TPR that a threshold with this eFPR or
less gives. PSDS is the mean height, from 0 to `max_efpr`, of the mean of the curves less `alpha_st`
times their standard deviation, where that is not negative.

- `psds_from_scores`: from frame scores, at all thresholds. The events at a threshold are the
  runs of frames with a score above it; as it falls, they begin, grow and join, and the counts
  change only there. Nothing is sampled.
- `psds_from_lists`: from lists of events, one a threshold.

Both take clips without events: false positives and the duration count there, too.

What is scored of a scores file is the score after the median filter of its decoding settings, as
in DCASE task 4, where post-processing is part of the system (`open_frame_scores` can leave it out).
Clip gate, shortest event and merging of gaps belong to one operating point, and are left out.

Differences from psds_eval and sed_scores_eval
----------------------------------------------
Given input that it takes, `psds_from_scores` equals sed_scores_eval 0.0.4 and `psds_from_lists`
equals psds_eval 0.5.3, but for the differences listed in `sedtool.evaluation.intersection` (ties,
overlaps, zero length and shares of 0) and these.

1. From scores, all thresholds are used, as in sed_scores_eval. psds_eval uses the lists it is
   given: the fewer, the lower its score. Scores rise against psds_eval.
2. Cross-triggers are averaged over the other classes, K - 1, as in both. psds_eval before 0.5
   divided by K. Scores fall against that where alpha_ct is not 0.
3. A class of the list without references has TPR 0, and counts in mean, deviation and as another
   class without cross-triggers. psds_eval fails, or reads memory that was never set;
   sed_scores_eval refuses. By default the class list is the reference's, and there is none.
4. A class of the reference that has no scores has TPR 0, with a warning. sed_scores_eval refuses.
5. A clip of the reference without scores is one where nothing was detected, and any clip of the
   durations counts by its length, as in psds_eval. sed_scores_eval asks for the same clips
   everywhere. Scores fall, or stay.
6. Staircases only, and rates per hour: there is no linear interpolation, and no open `max_efpr`.
7. With one class there are no cross-triggers. psds_eval has NaN for them. No valid score moves.
8. Intervals are of clips drawn with replacement. sed_scores_eval leaves out a fifth
   of the clips instead, in which a mean has √(0.2 / 0.8) = half the deviation: its intervals are
   half as wide. No score moves.

References
----------
C. Bilen, G. Ferroni, F. Tuveri, J. Azcarreta, S. Krstulovic, "A framework for the robust
evaluation of sound event detection", ICASSP 2020. J. Ebbers, R. Haeb-Umbach, R. Serizel,
"Threshold independent evaluation of sound event detection scores", ICASSP 2022.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from sedtool.config.evaluation import PSDS_SCENARIOS, PsdsConfig
from sedtool.errors import LabelError
from sedtool.evaluation.counts import IntArray
from sedtool.evaluation.intersection import intersect, merge
from sedtool.evaluation.pair import as_labels, pair_up
from sedtool.evaluation.psds.counting import ClipFrames, count_steps
from sedtool.evaluation.psds.steps import (
    FP,
    TP,
    ClassSteps,
    Curve,
    PsdsCounts,
    Steps,
    area,
    psd_roc,
)
from sedtool.labels import Event, StrongLabels, Vocabulary

if TYPE_CHECKING:
    from sedtool.score_tables import FrameScores  # which loads h5py and scipy

__all__ = [
    "PSDS_SCENARIOS",
    "Curve",
    "Psds",
    "PsdsConfig",
    "PsdsCounts",
    "psds_from_lists",
    "psds_from_scores",
]


@dataclass(frozen=True)
class Psds:
    """The score of one scenario, and the curves behind it."""

    value: float  # in [0, 1]
    classes: dict[str, float]  # the mean height of the curve of each class
    roc: Curve  # of all classes
    class_rocs: dict[str, Curve]
    undefined: tuple[str, ...]  # classes without references, whose curve is 0
    unscored: tuple[str, ...]  # classes of the list that have no scores
    n_lists: int | None  # of event lists: how many thresholds there are
    counts: PsdsCounts  # of each clip, for resampling

    @property
    def config(self) -> PsdsConfig:
        """Return the scenario."""
        return self.counts.config

    @property
    def n_clips(self) -> int:
        """Return the number of clips, those without events included."""
        return len(self.counts.clips)

    @property
    def seconds(self) -> float:
        """Return the duration of all clips."""
        return float(self.counts.seconds.sum())


def psds_from_scores(
    reference: StrongLabels | Sequence[Event],
    scores: "Iterable[FrameScores]",
    score_classes: Sequence[str],
    configs: Sequence[PsdsConfig],
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float] | None = None,
) -> list[Psds]:
    """Return the PSDS of frame scores, over all thresholds.

    Parameters
    ----------
    reference
        Events in any order. Clip names of the two sides are compared as they are.
    scores
        One entry a clip, in any order; they are read once, and may be made on the fly.
    score_classes
        What the columns of the scores are.
    configs
        The scenarios; all are counted in one pass.
    classes
        The only classes to score; by default those of the reference.
    durations
        Seconds, by clip name. A clip that is not named here is as long as its scores.

    Returns
    -------
    list of Psds
        One a scenario.

    Raises
    ------
    LabelError
        If an event has impossible times, a clip of the reference has neither scores nor a duration,
        a clip or class stands twice in the scores, or there is no class.
    """
    column = {label: k for k, label in enumerate(score_classes)}
    if len(column) < len(score_classes):
        raise LabelError("a class stands twice in the scores")
    side = _Reference(reference, classes, durations or {})
    columns = np.array([column.get(label, -1) for label in side.classes])
    clips = side.numbered(scores, len(score_classes), columns)
    steps = count_steps(clips, side.events, len(side.classes), configs)
    unscored = tuple(label for label in side.classes if label not in column)
    return side.scored(steps, configs, unscored=unscored)


def psds_from_lists(
    reference: StrongLabels | Sequence[Event],
    lists: Iterable[StrongLabels | Sequence[Event]],
    configs: Sequence[PsdsConfig],
    *,
    classes: Iterable[str] | None = None,
    durations: Mapping[str, float],
) -> list[Psds]:
    """Return the PSDS of lists of events, each made with another threshold.

    Parameters
    ----------
    reference, configs, classes
        As in `psds_from_scores`.
    lists
        In any order; they are read once, and may be made on the fly.
    durations
        Seconds, by clip name, of every clip.

    Raises
    ------
    LabelError
        If an event has impossible times, a clip has no duration, or there is no class.
    """
    side = _Reference(reference, classes, durations)
    found: list[list[Steps]] = [[] for _ in configs]
    n_lists = 0
    for estimated in lists:
        pair = pair_up(side.labels, estimated, side.classes)
        for name in pair.clips:
            side.number.setdefault(name, len(side.number))
        for steps, config in zip(found, configs, strict=True):
            counted = intersect(pair, config.criteria)
            accepted, crossing = counted.accepted, counted.crossing
            for kind, cells in (
                (TP, counted.reference.class_in_clip[counted.found]),
                (FP, counted.estimated.class_in_clip[~accepted]),
                (counted.crossed, counted.estimated.class_in_clip[crossing]),
            ):
                once, place = np.ones(len(cells), np.int32), np.full(len(cells), -float(n_lists))
                steps.append(Steps.of(cells, place, kind, once))
        n_lists += 1
    return side.scored([Steps.join(steps) for steps in found], configs, n_lists=n_lists)


class _Reference:
    """The reference of a score: its events and classes, and clips by number with their length."""

    def __init__(
        self,
        reference: StrongLabels | Sequence[Event],
        classes: Iterable[str] | None,
        durations: Mapping[str, float],
    ) -> None:
        labels = as_labels(reference)
        own = tuple(sorted(labels.classes))
        self.classes = own if classes is None else Vocabulary(classes).classes
        if not self.classes:
            raise LabelError(
                "PSDS needs a class: the reference has no events, so give a class list"
            )
        clips = dict.fromkeys((*labels.names, *durations))
        self.labels = StrongLabels.from_columns(labels.columns, tuple(clips))
        self.number = {name: i for i, name in enumerate(clips)}
        self.seconds = dict(durations)
        self.events = merge(*pair_up(self.labels, [], self.classes).by_class[0])

    def numbered(
        self, scores: "Iterable[FrameScores]", n_columns: int, columns: IntArray
    ) -> Iterator[ClipFrames]:
        """Yield the scores of the classes in `columns`; number clips, and note their length."""
        seen: set[str] = set()
        present = columns >= 0
        as_it_is = n_columns == len(columns) and np.array_equal(columns, np.arange(n_columns))
        for clip in scores:
            if clip.name in seen:
                raise LabelError(f"{clip.name} has scores twice")
            seen.add(clip.name)
            chosen = clip.scores
            if chosen.shape[1] != n_columns:
                raise LabelError(f"{clip.name}: {chosen.shape[1]} scores for {n_columns} classes")
            if not as_it_is:
                chosen = np.full((len(clip.scores), len(columns)), -np.inf)
                chosen[:, present] = clip.scores[:, columns[present]]
            if np.isnan(np.min(chosen, initial=0.0)):
                raise LabelError(f"{clip.name}: a score is not a number")
            self.seconds.setdefault(clip.name, float(clip.times[-1]))
            number = self.number.setdefault(clip.name, len(self.number))
            yield ClipFrames(number, clip.times, chosen)

    def scored(
        self,
        steps: Sequence[Steps],
        configs: Sequence[PsdsConfig],
        unscored: tuple[str, ...] = (),
        n_lists: int | None = None,
    ) -> list[Psds]:
        """Return the score of each scenario."""
        seconds, clips = self._lengths(), tuple(self.number)
        results = []
        for config, mine in zip(configs, steps, strict=True):
            by_class = ClassSteps.of_each(mine, len(self.classes), n_lists is not None)
            counts = PsdsCounts(clips, seconds, self.events, by_class, config)
            curves = [curve for curve in counts.curves(np.ones(len(clips))) if curve is not None]
            heights = [area(curve, config.max_efpr) for curve in curves]
            roc = psd_roc(curves, config.alpha_st)
            results.append(
                Psds(
                    area(roc, config.max_efpr),
                    dict(zip(self.classes, heights, strict=True)),
                    roc,
                    dict(zip(self.classes, curves, strict=True)),
                    tuple(compress(self.classes, counts.n_reference == 0)),
                    unscored,
                    n_lists,
                    counts,
                )
            )
        return results

    def _lengths(self) -> np.ndarray:
        """Return the duration of every clip, (C,)."""
        missing = [name for name in self.number if name not in self.seconds]
        if missing:
            raise LabelError(
                f"{len(missing)} clips have no duration, {missing[0]} first: rates per hour need "
                "all of them"
            )
        seconds = np.array([self.seconds[name] for name in self.number])
        wrong = np.flatnonzero(~((seconds >= 0) & (seconds < np.inf)))
        if wrong.size:
            raise LabelError(
                f"{tuple(self.number)[wrong[0]]}: a duration of {seconds[wrong[0]]:g} s; it must "
                "be finite, 0 or more"
            )
        if not seconds.sum() > 0:
            raise LabelError("the clips last 0 s altogether, so there is no rate per hour")
        return seconds
