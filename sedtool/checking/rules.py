"""What can be wrong with audio and label files: what each rule says of it, and how it is found.

A problem stops a later stage or spoils its result; a note is worth knowing. Times are seconds.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from statistics import median
from typing import NamedTuple

import numpy as np

from sedtool.checking.files import Clip, LabelFile
from sedtool.config import ArchitectureConfig, FeatureConfig
from sedtool.labels import Vocabulary
from sedtool.labels.names import name_is
from sedtool.text import first_five, quoted

PROBLEM, NOTE = "problem", "note"
# Label files and lists of durations are rounded to three decimals, each by up to half of one.
TOLERANCE = 0.001 + 1e-9
RARE = 10  # clips
LONG = 10  # times the median
SHORTEST = FeatureConfig.win_length / FeatureConfig.sample_rate  # one analysis window
HOP = FeatureConfig.hop_length / FeatureConfig.sample_rate
POOLED = ArchitectureConfig().time_pooling  # frames of features in an output frame
_FINER = (
    f"`extract` and `train` make output frames of {1000 * HOP * POOLED:g} ms, with `extract "
    "--preset short` and `train --arch small:time-pooling=1` of 10 ms"
)
_JOINT, _SURE_JOINT = re.compile(r"[;|/+,]"), re.compile(r"[;|]")
SUGGESTED = 5  # unknown labels to look for a similar class of, which takes time


class Rule(NamedTuple):
    """One kind of thing that may be found."""

    what: str  # is found, in the plural
    remedy: str = ""  # what to do about it; there is none where the rule makes a note
    advice: str = ""  # what may help, of a note

    @property
    def severity(self) -> str:
        """Return "problem", of what must be remedied, or "note"."""
        return PROBLEM if self.remedy else NOTE


# By their kinds, in the order in which they are reported.
RULES = {
    # The audio
    "unreadable-audio": Rule(
        "audio files that cannot be used", "copy or convert them again, or leave them out"
    ),
    "passed-over": Rule("files of audio or video that no stage reads, and no label file names"),
    "short-clip": Rule(
        "clips shorter than one analysis window", "leave them out, or shorten --win-length"
    ),
    "long-clip": Rule(f"clips more than {LONG} times as long as the median"),
    "silent": Rule("clips whose samples are all equal"),  # seen only where audio is decoded
    "unknown-duration": Rule("clips whose header does not state a length; --decode finds it"),
    "mixed-formats": Rule("clips of other sample rates or channels than most"),
    "leak": Rule(  # what is validated on would be trained on
        "audio under different names, labelled in different files",
        "keep one of the names, or all of them in one label file",
    ),
    "duplicate-audio": Rule("copies of audio under another name"),  # counts twice in training
    "unlabelled": Rule("audio files that no label file names"),
    "label-spelling": Rule("labels that come in several spellings"),
    # A label file by itself
    "unreadable-labels": Rule(
        "label files that cannot be read",
        "make each the table that its message asks for",
    ),
    "bad-row": Rule(
        "rows that cannot be read", "correct these lines; all stages stop at the first"
    ),
    "bad-time": Rule("times that make no sense", "give seconds from the start of the clip"),
    "empty-file": Rule(
        "label files without a row, or a class", "leave the file out, or write it again"
    ),
    "unknown-label": Rule(
        "labels that are not in the class list", "correct them, or add them to the list"
    ),
    "duplicate-event": Rule("events that are listed twice", "keep one of the equal rows"),
    "duplicate-row": Rule("rows that are listed twice"),
    "relabelled": Rule("clips with different labels in different rows", "keep one row a clip"),
    "added-labels": Rule("clips with a label in each of several rows; they add up"),
    "zero-length": Rule("events that last no time"),  # they are evaluated, but not trained on
    "overlap": Rule(  # frames would merge them, while event counts keep them apart
        "events that overlap another one of their class", "join them, or cut the first"
    ),
    "touching": Rule(
        "events that begin where another one of their class ends: frames make one event of both",
        advice="`train --touching-gap 2` learns from strong labels to keep them apart, with frames "
        "that are short (`extract --preset short`, `train --arch small:time-pooling=1`)",
    ),
    "near": Rule(
        "events that begin less than an output frame after another one of their class",
        advice=f"decoding may join them; {_FINER}",
    ),
    "short-events": Rule(
        "classes of which half the events are shorter than two output frames", advice=_FINER
    ),
    "unsure": Rule("events with a confidence below 1; --min-confidence leaves some out"),
    "joined-labels": Rule("labels that seem to be several in one; commas join weak labels"),
    "without-labels": Rule("clips without labels"),  # they are trained on as clips of no class
    "rare-class": Rule(f"classes with fewer than {RARE} clips"),
    # A label file against the audio
    "missing": Rule("labelled clips without audio", "add the audio, or take the rows out"),
    "misnamed": Rule(
        "labelled clips whose audio differs in suffix, case or leading Y",
        "name them in the label file as the audio is named",
    ),
    "ambiguous": Rule(
        "names that could mean several clips", "write the folder in front of the name"
    ),
    "same-clip": Rule(
        "names that mean a clip that another name means, too", "keep one of the names"
    ),
    "by-basename": Rule(
        "names that match by their basename, or but for \\, suffix or Unicode form"
    ),
    "past-end": Rule(  # audio and labels may not belong together
        "events that end after their audio",
        "check that times count from the start of the clip, and that the audio is whole",
    ),
    # Two label files
    "shared-clip": Rule(
        "clips in both files: not one to train and one to validate on",
        "take the clips out of one of the files, unless both are trained on",
    ),
    "parallel-labels": Rule("clips in both files: not one to train and one to validate on"),
    "contradiction": Rule(
        "clips with events of classes that are not in their weak labels",
        "correct one of the two files",
    ),
    "unlocated": Rule("clips with weak labels of which no event is listed"),
}


class Found(NamedTuple):
    """Something that a rule finds."""

    kind: str  # a key of `RULES`
    place: str  # "file:line: what" or "clip: what"
    number: int = 1  # of places that it stands for


@dataclass(frozen=True)
class Data:
    """All that is checked."""

    clips: Mapping[str, Clip]
    files: Sequence[LabelFile]
    classes: Sequence[str]  # the class list, or all labels that occur
    vocabulary: Vocabulary | None  # the class list
    copies: Sequence[list[str]]  # names of clips with the same audio
    frame: float = HOP * POOLED  # output frame in seconds


def in_audio(data: Data) -> Iterator[Found]:
    """Yield what is found in the clips, and in which label files name them."""
    unlabelled = dict.fromkeys(data.clips)
    for clip in chain.from_iterable(file.clips for file in data.files):
        unlabelled.pop(clip, None)
    passed_over = [name for name in unlabelled if data.clips[name].is_passed_over]
    yield from (Found("passed-over", f"{name}: {data.clips[name].error}") for name in passed_over)
    for name in passed_over:
        unlabelled.pop(name)
    left_out = frozenset(passed_over)
    clips = [clip for name, clip in data.clips.items() if name not in left_out]
    yield from _clips(clips)
    yield from _lengths(clips)
    yield from _copies(data)
    if data.files:
        yield from (Found("unlabelled", name) for name in unlabelled)


def _clips(clips: Collection[Clip]) -> Iterator[Found]:
    formats = Counter(clip.format for clip in clips if clip.format)
    usual = formats.most_common(1)[0][0] if formats else ""
    for clip in clips:
        if clip.error:
            yield Found("unreadable-audio", f"{clip.name}: {clip.error}")
        elif clip.duration is None:
            yield Found("unknown-duration", clip.name)
        if clip.constant is not None:
            what = f"all samples are {clip.constant:g}" if clip.constant else "silent"
            yield Found("silent", f"{clip.name}: {what}")
        if clip.format not in ("", usual):
            yield Found("mixed-formats", f"{clip.name}: {clip.format}; most have {usual}")


def _lengths(clips: Collection[Clip]) -> Iterator[Found]:
    durations = {clip.name: clip.duration for clip in clips if clip.duration is not None}
    typical = median(durations.values()) if durations else 0.0
    for name, duration in durations.items():
        if duration < SHORTEST:
            yield Found("short-clip", f"{name}: {duration:.3f} s, a window is {SHORTEST:g} s")
        if duration > LONG * typical:
            what = f"{duration:.3f} s, the median is {typical:.3f} s"
            yield Found("long-clip", f"{name}: {what}")


def _copies(data: Data) -> Iterator[Found]:
    """Yield the clips with the same audio: a leak if they have labels in different files."""
    files: dict[str, set[str]] = {name: set() for names in data.copies for name in names}
    for file in data.files if files else ():  # that have labels of a clip
        for clip in file.clips if file.kind != "unlabelled" else ():
            if clip in files:
                files[clip].add(str(file.path))
    for names in data.copies:
        labelled = [name for name in names if files[name]]
        if any(files[a].isdisjoint(files[b]) for a, b in combinations(labelled[:100], 2)):
            shown = (f"{name} ({', '.join(sorted(files[name]))})" for name in labelled[:5])
            yield Found("leak", " = ".join(shown))
        else:
            yield Found("duplicate-audio", " = ".join(names[:5]), len(names) - 1)


def in_spelling(data: Data) -> Iterator[Found]:
    """Yield the labels that differ in case, spaces, hyphens and underscores only."""
    spellings: dict[str, dict[str, str]] = defaultdict(dict)
    for file in data.files if data.vocabulary is None else ():
        for row, labels in file.kinds_of_rows():
            for label in labels:
                key = "".join(c for c in label.casefold() if not (c.isspace() or c in "_-"))
                spellings[key].setdefault(label, file.at(row))
    for variants in spellings.values():
        if len(variants) > 1:
            shown = first_five(f"{quoted(label)} ({where})" for label, where in variants.items())
            yield Found("label-spelling", shown)


def in_labels(file: LabelFile, data: Data) -> Iterator[Found]:
    """Yield what is found in a label file by itself, and against the audio."""
    yield from _faults(file, data)
    yield from _unknown_labels(file, data.vocabulary)
    yield from _joined_labels(file, data)
    yield from _repeated(file)
    yield from _names(file)
    if file.kind == "weak":
        yield from _differing(file)
    if file.kind == "strong":
        yield from _events(file, data.clips)
        touching = sum(found.kind == "touching" for found in _gaps(file, data.frame))
        if rest := int(file.is_labelled.sum()) - touching if touching else 0:
            best = 2 * rest / (2 * rest + touching)
            what = f"micro event F1 is {best:.2f} at best where each is one with those before it"
            yield Found("touching", what, 0)
        yield from _gaps(file, data.frame)
    if file.kind != "unlabelled":
        yield from _unlabelled(file, data.classes)


def _faults(file: LabelFile, data: Data) -> Iterator[Found]:
    kinds = {"file": "unreadable-labels", "row": "bad-row", "time": "bad-time"}
    for kind, first in file.faults.items():
        yield from (Found(kinds[kind], text) for text in first)
        if more := file.n_faults[kind] - len(first):
            yield Found(kinds[kind], "", more)
    if not (file.names or file.faults):
        yield Found("empty-file", str(file.path))
    elif file.names and file.kind != "unlabelled" and not data.classes:
        what = "no row has a label, and there is no class list"
        yield Found("empty-file", f"{file.path}: {what}")


def _unknown_labels(file: LabelFile, classes: Vocabulary | None) -> Iterator[Found]:
    """Yield each label of no class once, for all its rows."""
    first: dict[str, int] = {}  # rows
    count: Counter[str] = Counter()
    if classes is None:
        return
    for (row, labels), n_rows in zip(file.kinds_of_rows(), np.bincount(file.labelled), strict=True):
        for label in labels:
            if label not in classes:
                first.setdefault(label, row)
                count[label] += int(n_rows)
    for number, (label, row) in enumerate(first.items()):
        hint = classes.suggestion(label) if number < SUGGESTED else ""
        text = f"{file.at(row)}: unknown label {quoted(label)}{hint} (rows: {count[label]})"
        yield Found("unknown-label", text, count[label])


def _joined_labels(file: LabelFile, data: Data) -> Iterator[Found]:
    """Yield each label once that has others in it, between what may be meant to join them."""
    classes = set(data.classes)
    seen = set(data.vocabulary.classes if data.vocabulary else ())
    for row, labels in file.kinds_of_rows():
        for label in labels:
            parts = [part.strip() for part in _JOINT.split(label)]
            may_be = _SURE_JOINT.search(label) or not classes.isdisjoint(parts)
            if len(parts) > 1 and all(parts) and may_be and label not in seen:
                seen.add(label)
                yield Found("joined-labels", f"{file.at(row)}: {quoted(label)}")


def _repeated(file: LabelFile) -> Iterator[Found]:
    """Yield the rows that say what an earlier row says; only of an event it matters."""
    if len(file.names) == len(file.line):
        return
    columns = np.array([c[file.order] for c in (file.name, file.same_labels)])
    times = np.array([c[file.order] for c in (file.onset, file.offset)])
    is_new = np.r_[True, (np.diff(columns) != 0).any(axis=0) | (np.diff(times) != 0).any(axis=0)]
    earlier = file.order[np.maximum.accumulate(np.where(is_new, np.arange(len(is_new)), 0))]
    for row, first in sorted(np.stack([file.order, earlier], axis=1)[~is_new].tolist()):
        is_event = file.kind == "strong" and file.is_labelled[row]
        text = f"{file.at(row)}: {file.named(row)}: the same as line {file.line[first]}"
        yield Found("duplicate-event" if is_event else "duplicate-row", text)


def _differing(file: LabelFile) -> Iterator[Found]:
    """Yield the clips with different labels in different rows.

    Rows of one label each add up; of those that list several it is not clear which is right.
    """
    kind = "added-labels" if all(len(labels) <= 1 for labels in file.labels) else "relabelled"
    last = np.zeros(len(file.names), np.int64)
    last[file.name] = np.arange(len(file.name))
    first_labels = file.same_labels[file.first]
    for name in np.unique(file.name[file.same_labels != first_labels[file.name]]).tolist():
        rows = file.first[name], last[name]
        one, other = (", ".join(file.labels[file.labelled[r]]) or "no label" for r in rows)
        where = f"{file.at(rows[1])}: {file.names[name]}"
        yield Found(kind, f"{where}: {other}; in line {file.line[rows[0]]} {one}")


def _events(file: LabelFile, clips: Mapping[str, Clip]) -> Iterator[Found]:
    """Yield the events that last no time, and those that end after their clip."""
    known = (clips.get(clip) for clip in file.clips)
    lasts = np.array([c.duration if c else None for c in known], float)[file.name]  # NaN: not known
    is_late = file.offset > lasts + TOLERANCE
    for row in file.unsure:
        yield Found("unsure", f"{file.at(row)}: {file.named(row)}")
    for row in np.flatnonzero(file.is_labelled & (is_late | (file.onset == file.offset))).tolist():
        onset, offset, (label,) = file.onset[row], file.offset[row], file.labels[file.labelled[row]]
        where = f"{file.at(row)}: {file.named(row)}"
        if offset == onset:
            yield Found("zero-length", f"{where}: {label} at {onset:g} s")
        if is_late[row]:
            what = f"{label} to {offset:.3f} s, the audio ends at {lasts[row]:.3f} s"
            if onset and f"_{onset:.3f}_{offset:.3f}" in file.named(row):  # as in AudioSet
                what += "; these are the clip's own times in a longer recording"
            yield Found("past-end", f"{where}: {what}")


def _gaps(file: LabelFile, frame: float) -> Iterator[Found]:
    """Yield the events that leave no time, or less than a frame, to others of class and clip."""
    rows = file.order[(file.is_labelled & (file.offset > file.onset))[file.order]]
    columns = (file.name, file.labelled, file.onset, file.offset)
    before: tuple[float, ...] = ()
    end = -math.inf
    for row, *event in zip(rows.tolist(), *(c[rows].tolist() for c in columns), strict=True):
        name, labelled, onset, offset = event
        if (name, labelled, onset, offset) == before:
            continue
        if before[:2] != (name, labelled):
            end = -math.inf
        if (gap := onset - end) < frame - 1e-9:
            kind = "overlap" if gap < -TOLERANCE else "touching" if gap <= TOLERANCE else "near"
            what = f"{file.labels[labelled][0]} from {onset:g} s, one ends at {end:g} s"
            yield Found(kind, f"{file.at(row)}: {file.names[name]}: {what}")
        end, before = max(end, offset), (name, labelled, onset, offset)


def _unlabelled(file: LabelFile, classes: Sequence[str]) -> Iterator[Found]:
    """Yield the clips without labels, and the classes of few clips or none."""
    n_labelled = np.bincount(file.name, file.is_labelled, len(file.names))
    for name in np.flatnonzero(n_labelled == 0).tolist():
        yield Found("without-labels", f"{file.at(file.first[name])}: {file.names[name]}")
    counts = file.clips_by_label
    for label in classes if file.names else ():
        if counts[label] < RARE:
            yield Found("rare-class", f"{label}: {counts[label]} clips")


def _names(file: LabelFile) -> Iterator[Found]:
    """Yield the names that mean no clip, or not exactly the one that they should."""
    line = (
        dict(zip(file.names, file.line[file.first].tolist(), strict=True)) if file.matches else {}
    )
    for match in file.matches:
        name, at = match.name, f"{file.path}:{line[match.name]}"
        hint = file.hint(name) if match.fault == "missing" else ""
        if hint:
            yield Found("misnamed", f"{at}: {name}{hint}")
        elif match.fault or not match.clip:
            yield Found(match.fault, f"{at}: {match.message or name}")
        else:
            yield Found("by-basename", f"{at}: {name_is(name, match.clip)}")


def between(one: LabelFile, other: LabelFile) -> Iterator[Found]:
    """Yield the clips that two label files share, and what these say differently."""
    labels, others = one.labels_by_clip, other.labels_by_clip
    common = [clip for clip in labels if clip in others]
    # Sets to train and to validate on are files of one kind, or have some clips in common, not all.
    has_all = len(common) == min(len(labels), len(others))
    is_parallel = one.kind != other.kind and ("unlabelled" in (one.kind, other.kind) or has_all)
    for clip in common:
        yield Found("parallel-labels" if is_parallel else "shared-clip", clip)
    if {one.kind, other.kind} != {"weak", "strong"}:
        return
    weak, strong = (labels, others) if one.kind == "weak" else (others, labels)
    for clip in common:
        if extra := ", ".join(sorted(strong[clip] - weak[clip])):
            yield Found("contradiction", f"{clip}: {extra} not in its weak labels")
        if extra := ", ".join(sorted(weak[clip] - strong[clip])):
            yield Found("unlocated", f"{clip}: {extra} not in its strong labels")
