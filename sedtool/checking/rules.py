"""What can be wrong with audio and label files: what each rule says of it, and how it is found.

A problem stops a later stage or spoils its result; a note is worth knowing. Times are seconds.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import NamedTuple

from sedtool.checking.files import Clip, LabelFile
from sedtool.config import FeatureConfig
from sedtool.labels import Vocabulary
from sedtool.labels.tables import Row
from sedtool.text import first_five, quoted

PROBLEM, NOTE = "problem", "note"
# Label files and lists of durations are rounded to three decimals, each by up to half of one.
TOLERANCE = 0.001 + 1e-9
RARE = 10  # clips
LONG = 10  # times the median
SHORTEST = FeatureConfig.win_length / FeatureConfig.sample_rate  # one analysis window
SUGGESTED = 5  # unknown labels to look for a similar class of, which takes time


class Rule(NamedTuple):
    """One kind of thing that may be found."""

    what: str  # is found, in the plural
    remedy: str = ""  # what to do about it; there is none where the rule makes a note

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
        "make each the tab-separated table in UTF-8 that its message asks for",
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
    "touching": Rule("events that begin where another one of their class ends"),
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
    "by-basename": Rule("names that match by their basename, or but for \\ and Unicode form"),
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


def in_audio(data: Data) -> Iterator[Found]:
    """Yield what is found in the clips, and in which label files name them."""
    yield from _clips(data.clips.values())
    yield from _lengths(data.clips.values())
    yield from _copies(data)
    named = {clip for file in data.files for clip in file.clip_of.values()}
    for name in data.clips:
        if data.files and name not in named:
            yield Found("unlabelled", name)


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
    files: dict[str, set[str]] = defaultdict(set)  # that have labels of a clip
    for file in data.files:
        for clip in file.clip_of.values():
            if file.kind != "unlabelled":
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
        for row in file.rows:
            for label in row.labels:
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
    yield from _repeated(file)
    yield from _names(file)
    if file.kind == "weak":
        yield from _differing(file)
    if file.kind == "strong":
        yield from _events(file, data.clips)
        yield from _gaps(file)
    if file.kind != "unlabelled":
        yield from _unlabelled(file, data.classes)


def _faults(file: LabelFile, data: Data) -> Iterator[Found]:
    kinds = {"file": "unreadable-labels", "row": "bad-row", "time": "bad-time"}
    for fault in file.faults:
        yield Found(kinds[fault.kind], str(fault))
    if not (file.rows or file.faults):
        yield Found("empty-file", str(file.path))
    elif file.rows and file.kind != "unlabelled" and not data.classes:
        what = "no row has a label, and there is no class list"
        yield Found("empty-file", f"{file.path}: {what}")


def _unknown_labels(file: LabelFile, classes: Vocabulary | None) -> Iterator[Found]:
    """Yield each label of no class once, for all its rows."""
    rows: dict[str, list[Row]] = defaultdict(list)
    if classes is None:
        return
    for row in file.rows:
        for label in row.labels:
            if label not in classes:
                rows[label].append(row)
    for number, (label, among) in enumerate(rows.items()):
        hint = classes.suggestion(label) if number < SUGGESTED else ""
        text = f"{file.at(among[0])}: unknown label {quoted(label)}{hint} (rows: {len(among)})"
        yield Found("unknown-label", text, len(among))


def _repeated(file: LabelFile) -> Iterator[Found]:
    """Yield the rows that say what an earlier row says; only of an event it matters."""
    first: dict[tuple[object, ...], Row] = {}
    for row in file.rows:
        key = (row.name, frozenset(row.labels), row.onset, row.offset)
        earlier = first.setdefault(key, row)
        if earlier is not row:
            is_event = file.kind == "strong" and row.labels
            text = f"{file.at(row)}: {row.name}: the same as line {earlier.line}"
            yield Found("duplicate-event" if is_event else "duplicate-row", text)


def _differing(file: LabelFile) -> Iterator[Found]:
    """Yield the clips with different labels in different rows.

    Rows of one label each add up; of those that list several it is not clear which is right.
    """
    kind = "added-labels" if all(len(row.labels) <= 1 for row in file.rows) else "relabelled"
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in file.rows:
        rows[row.name].append(row)
    for name, among in rows.items():
        if len({frozenset(row.labels) for row in among}) > 1:
            first, last = (", ".join(row.labels) or "no label" for row in (among[0], among[-1]))
            text = f"{file.at(among[-1])}: {name}: {last}; in line {among[0].line} {first}"
            yield Found(kind, text)


def _events(file: LabelFile, clips: Mapping[str, Clip]) -> Iterator[Found]:
    """Yield the events that last no time, and those that end after their clip."""
    for row in file.events():
        clip, label = clips.get(file.clip_of[row.name]), row.labels[0]
        if row.offset == row.onset:
            yield Found("zero-length", f"{file.at(row)}: {row.name}: {label} at {row.onset:g} s")
        if clip and clip.duration is not None and row.offset > clip.duration + TOLERANCE:
            what = f"{label} to {row.offset:.3f} s, the audio ends at {clip.duration:.3f} s"
            if row.onset and f"_{row.onset:.3f}_{row.offset:.3f}" in row.name:  # as in AudioSet
                what += "; these are the clip's own times in a longer recording"
            yield Found("past-end", f"{file.at(row)}: {row.name}: {what}")


def _gaps(file: LabelFile) -> Iterator[Found]:
    """Yield the events that leave no time to those before them of their class and clip."""
    events: dict[tuple[str, str], dict[tuple[float, float], Row]] = defaultdict(dict)
    for row in file.events():
        if row.offset > row.onset:
            events[row.name, row.labels[0]].setdefault((row.onset, row.offset), row)
    for (name, label), rows in events.items():
        end = -1.0
        for (onset, offset), row in sorted(rows.items()):
            if onset - end <= TOLERANCE:
                kind = "overlap" if onset - end < -TOLERANCE else "touching"
                what = f"{label} from {onset:g} s, one ends at {end:g} s"
                yield Found(kind, f"{file.at(row)}: {name}: {what}")
            end = max(end, offset)


def _unlabelled(file: LabelFile, classes: Sequence[str]) -> Iterator[Found]:
    """Yield the clips without labels, and the classes of few clips or none."""
    labelled = {row.name for row in file.rows if row.labels}
    for name, row in file.first_rows.items():
        if name not in labelled:
            yield Found("without-labels", f"{file.at(row)}: {name}")
    counts = file.clips_by_label
    for label in classes if file.rows else ():
        if counts[label] < RARE:
            yield Found("rare-class", f"{label}: {counts[label]} clips")


def _names(file: LabelFile) -> Iterator[Found]:
    """Yield the names that mean no clip, or not exactly the one that they should."""
    for name, match in file.matches.items():
        at, near = file.at(file.first_rows[name]), file.nearest.get(name)
        if near:
            yield Found("misnamed", f"{at}: {name} (there is {near})")
        elif match.fault:
            yield Found(match.fault, f"{at}: {match.message or name}")
        elif match.clip != name:
            yield Found("by-basename", f"{at}: {name} is {match.clip}")


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
