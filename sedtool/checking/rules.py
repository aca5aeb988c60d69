"""What can be wrong with audio and label files: a function a rule, with its message and remedy.

A problem stops a later stage or spoils its result; a note is worth knowing. Times are seconds.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any, TypeVar

from sedtool.checking.files import Clip, LabelFile
from sedtool.config import FeatureConfig
from sedtool.labels import Vocabulary
from sedtool.labels.tables import COLUMNS, Row

PROBLEM, NOTE = "problem", "note"
# Label files and lists of durations are rounded to three decimals, each by up to half of one.
TOLERANCE = 0.001 + 1e-9
RARE = 10  # clips
LONG = 10  # times the median
SHORTEST = FeatureConfig.win_length / FeatureConfig.sample_rate  # one analysis window
SUGGESTED = 5  # unknown labels to look for a similar class of, which takes time

F = TypeVar("F", bound=Callable[..., Iterable[Any]])
Place = str | tuple[str, int]  # "file:line: what" or "clip: what"; and how many it stands for


@dataclass(frozen=True)
class Data:
    """All that is checked."""

    clips: Mapping[str, Clip]
    files: Sequence[LabelFile]
    classes: Sequence[str]  # the class list, or all labels that occur
    vocabulary: Vocabulary | None  # the class list
    copies: Sequence[list[str]]  # names of clips with the same audio


@dataclass(frozen=True)
class Rule:
    """One kind of thing that may be found."""

    kind: str
    what: str  # is found, in the plural
    remedy: str  # what to do about it; there is none where the rule makes a note
    places: Callable[..., Iterable[Place]]
    where: str = "audio"  # of rules for all data
    of: tuple[str, ...] = tuple(COLUMNS)  # kinds of label files that it applies to

    @property
    def severity(self) -> str:
        """Return "problem", of what must be remedied, or "note"."""
        return PROBLEM if self.remedy else NOTE


AUDIO: list[Rule] = []  # rules for (data): for the audio, or all label files together
TABLE: list[Rule] = []  # for (label file, data): by itself, or against the audio
PAIR: list[Rule] = []  # for (label file, another)


def rule(rules: list[Rule], what: str, remedy: str = "", **fields: Any) -> Callable[[F], F]:
    """Make a rule of the function that finds its places, and that it is named after."""

    def add(places: F) -> F:
        rules.append(Rule(places.__name__.replace("_", "-"), what, remedy, places, **fields))
        return places

    return add


# The audio


@rule(AUDIO, "audio files that cannot be used", "copy or convert them again, or leave them out")
def unreadable_audio(data: Data) -> Iterable[Place]:
    """Extract would refuse it: damaged, empty, not audio, a bad name."""
    return (f"{clip.name}: {clip.error}" for clip in data.clips.values() if clip.error)


@rule(AUDIO, "clips shorter than one analysis window", "leave them out, or shorten --win-length")
def short_clip(data: Data) -> Iterable[Place]:
    """No frame can be computed of it with the default settings."""
    for name, duration in _durations(data):
        if duration < SHORTEST:
            yield f"{name}: {duration:.3f} s, a window is {SHORTEST:g} s"


@rule(AUDIO, f"clips more than {LONG} times as long as the median")
def long_clip(data: Data) -> Iterable[Place]:
    """It may be a recording that was not cut into clips."""
    durations = _durations(data)
    typical = median([duration for _, duration in durations]) if durations else 0.0
    for name, duration in durations:
        if duration > LONG * typical:
            yield f"{name}: {duration:.3f} s, the median is {typical:.3f} s"


@rule(AUDIO, "clips whose samples are all equal")
def silent(data: Data) -> Iterable[Place]:
    """Only where audio is decoded."""
    for clip in data.clips.values():
        if clip.constant is not None:
            what = f"all samples are {clip.constant:g}" if clip.constant else "silent"
            yield f"{clip.name}: {what}"


@rule(AUDIO, "clips whose header does not state a length; --decode finds it")
def unknown_duration(data: Data) -> Iterable[Place]:
    """It cannot be told whether events end after it."""
    return (c.name for c in data.clips.values() if c.duration is None and not c.error)


@rule(AUDIO, "clips of other sample rates or channels than most")
def mixed_formats(data: Data) -> Iterable[Place]:
    """Some clips may have been processed in another way than most."""
    formats = Counter(clip.format for clip in data.clips.values() if clip.format)
    usual = formats.most_common(1)[0][0] if formats else ""
    for clip in data.clips.values():
        if clip.format not in ("", usual):
            yield f"{clip.name}: {clip.format}; most have {usual}"


@rule(
    AUDIO,
    "audio under different names, labelled in different files",
    "keep one of the names, or all of them in one label file",
)
def leak(data: Data) -> Iterable[Place]:
    """What is validated on would be trained on."""
    files = _labelled_in(data)
    for names in data.copies:
        if _are_apart(names, files):
            labelled = [name for name in names if files[name]]
            shown = (f"{name} ({', '.join(sorted(files[name]))})" for name in labelled[:5])
            yield " = ".join(shown)


@rule(AUDIO, "copies of audio under another name")
def duplicate_audio(data: Data) -> Iterable[Place]:
    """Found by content; it counts twice in training."""
    files = _labelled_in(data)
    for names in data.copies:
        if not _are_apart(names, files):
            yield " = ".join(names[:5]), len(names) - 1


@rule(AUDIO, "audio files that no label file names")
def unlabelled(data: Data) -> Iterable[Place]:
    """It is not used unless as unlabelled data."""
    named = {clip for file in data.files for clip in file.clip_of.values()}
    return (name for name in data.clips if data.files and name not in named)


@rule(AUDIO, "labels that come in several spellings", where="label files")
def label_spelling(data: Data) -> Iterable[Place]:
    """Labels differ in case, spaces, hyphens and underscores only."""
    spellings: dict[str, dict[str, str]] = defaultdict(dict)
    for file in data.files if data.vocabulary is None else ():
        for row in file.rows:
            for label in row.labels:
                key = "".join(c for c in label.casefold() if not (c.isspace() or c in "_-"))
                spellings[key].setdefault(label, file.at(row))
    for variants in spellings.values():
        if len(variants) > 1:
            yield "; ".join(f"{label!r} ({where})" for label, where in variants.items())


def _durations(data: Data) -> list[tuple[str, float]]:
    return [(c.name, c.duration) for c in data.clips.values() if c.duration is not None]


def _labelled_in(data: Data) -> dict[str, set[str]]:
    """Return the strong and weak label files that name each clip."""
    files: dict[str, set[str]] = defaultdict(set)
    for file in data.files:
        for clip in file.clip_of.values():
            if file.kind != "unlabelled":
                files[clip].add(str(file.path))
    return files


def _are_apart(names: Iterable[str], files: Mapping[str, set[str]]) -> bool:
    """Return whether two of some clips have labels in different files, and not in one."""
    labelled = [name for name in names if files[name]][:100]
    return any(files[a].isdisjoint(files[b]) for a, b in combinations(labelled, 2))


# A label file by itself


@rule(
    TABLE,
    "label files that cannot be read",
    "write it as a tab-separated table in UTF-8 with the columns that the message names",
)
def unreadable_labels(file: LabelFile, data: Data) -> Iterable[Place]:
    """It is not UTF-8, or has other columns."""
    return file.faults_of("file")


@rule(TABLE, "rows that cannot be read", "correct these lines; all stages stop at the first")
def bad_row(file: LabelFile, data: Data) -> Iterable[Place]:
    """Columns too many or too few, a control character, an empty name."""
    return file.faults_of("row")


@rule(TABLE, "times that make no sense", "give seconds from the start of the clip")
def bad_time(file: LabelFile, data: Data) -> Iterable[Place]:
    """No number, negative, or an offset before its onset."""
    return file.faults_of("time")


@rule(TABLE, "label files without a row, or a class", "leave the file out, or write it again")
def empty_file(file: LabelFile, data: Data) -> Iterable[Place]:
    """It has no row; or no label in any row, where there is no class list."""
    if not (file.rows or file.faults):
        yield str(file.path)
    elif file.rows and file.kind != "unlabelled" and not data.classes:
        yield f"{file.path}: no row has a label, and there is no class list"


@rule(TABLE, "labels that are not in the class list", "correct them, or add them to the list")
def unknown_label(file: LabelFile, data: Data) -> Iterable[Place]:
    """Rows are counted, and each label is shown once."""
    rows: dict[str, list[Row]] = defaultdict(list)
    classes = data.vocabulary
    if classes is None:
        return
    for row in file.rows:
        for label in row.labels:
            if label not in classes:
                rows[label].append(row)
    for number, (label, among) in enumerate(rows.items()):
        hint = classes.suggestion(label) if number < SUGGESTED else ""
        text = f"unknown label {label!r}{hint} (rows: {len(among)})"
        yield f"{file.at(among[0])}: {text}", len(among)


@rule(TABLE, "events that are listed twice", "keep one of the equal rows", of=("strong",))
def duplicate_event(file: LabelFile, data: Data) -> Iterable[Place]:
    """It counts twice where events are counted."""
    return (place for row, place in _repeated(file) if row.labels)


@rule(TABLE, "rows that are listed twice")
def duplicate_row(file: LabelFile, data: Data) -> Iterable[Place]:
    """Of no consequence."""
    return (place for row, place in _repeated(file) if file.kind != "strong" or not row.labels)


@rule(TABLE, "clips with different labels in different rows", "keep one row a clip", of=("weak",))
def relabelled(file: LabelFile, data: Data) -> Iterable[Place]:
    """In a file whose rows list several labels it is not clear which row is right."""
    return () if _has_one_each(file) else _differing(file)


@rule(TABLE, "clips with a label in each of several rows; they add up", of=("weak",))
def added_labels(file: LabelFile, data: Data) -> Iterable[Place]:
    """The rows of a clip have one label each, and add up."""
    return _differing(file) if _has_one_each(file) else ()


@rule(TABLE, "events that last no time", of=("strong",))
def zero_length(file: LabelFile, data: Data) -> Iterable[Place]:
    """It is evaluated, but not trained on."""
    for row in file.events():
        if row.offset == row.onset:
            yield f"{file.at(row)}: {row.name}: {row.labels[0]} at {row.onset:g} s"


@rule(
    TABLE,
    "events that overlap another one of their class",
    "join them, or cut the first",
    of=("strong",),
)
def overlap(file: LabelFile, data: Data) -> Iterable[Place]:
    """Frames would merge the events, while event counts keep them apart."""
    return (place for gap, place in _gaps(file) if gap < -TOLERANCE)


@rule(TABLE, "events that begin where another one of their class ends", of=("strong",))
def touching(file: LabelFile, data: Data) -> Iterable[Place]:
    """Frames make one event of the two."""
    return (place for gap, place in _gaps(file) if abs(gap) <= TOLERANCE)


@rule(TABLE, "clips without labels", of=("strong", "weak"))
def without_labels(file: LabelFile, data: Data) -> Iterable[Place]:
    """It is trained on as a clip of no class."""
    labelled = {row.name for row in file.rows if row.labels}
    for name, row in file.first_rows.items():
        if name not in labelled:
            yield f"{file.at(row)}: {name}"


@rule(TABLE, f"classes with fewer than {RARE} clips", of=("strong", "weak"))
def rare_class(file: LabelFile, data: Data) -> Iterable[Place]:
    """Too few to learn from or to score on, none included."""
    counts = file.clips_by_label
    for label in data.classes if file.rows else ():
        if counts[label] < RARE:
            yield f"{label}: {counts[label]} clips"


def _repeated(file: LabelFile) -> Iterator[tuple[Row, str]]:
    """Yield the rows that say what an earlier row says."""
    first: dict[tuple[object, ...], Row] = {}
    for row in file.rows:
        key = (row.name, frozenset(row.labels), row.onset, row.offset)
        earlier = first.setdefault(key, row)
        if earlier is not row:
            yield row, f"{file.at(row)}: {row.name}: the same as line {earlier.line}"


def _has_one_each(file: LabelFile) -> bool:
    return all(len(row.labels) <= 1 for row in file.rows)


def _differing(file: LabelFile) -> Iterator[str]:
    """Yield the clips with different labels in different rows."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in file.rows:
        rows[row.name].append(row)
    for name, among in rows.items():
        if len({frozenset(row.labels) for row in among}) > 1:
            first, last = (", ".join(row.labels) or "no label" for row in (among[0], among[-1]))
            yield f"{file.at(among[-1])}: {name}: {last}; in line {among[0].line} {first}"


def _gaps(file: LabelFile) -> Iterator[tuple[float, str]]:
    """Yield the seconds between each event and the end of those before it of its class and clip."""
    events: dict[tuple[str, str], dict[tuple[float, float], Row]] = defaultdict(dict)
    for row in file.events():
        if row.offset > row.onset:
            events[row.name, row.labels[0]].setdefault((row.onset, row.offset), row)
    for (name, label), rows in events.items():
        end = -1.0
        for (onset, offset), row in sorted(rows.items()):
            place = f"{file.at(row)}: {name}: {label} from {onset:g} s, one ends at {end:g} s"
            yield onset - end, place
            end = max(end, offset)


# A label file against the audio


@rule(TABLE, "labelled clips without audio", "add the audio, or take the rows out")
def missing(file: LabelFile, data: Data) -> Iterable[Place]:
    """No clip is anything like it."""
    return (f"{at}: {name}" for at, name, near in file.missing if near is None)


@rule(
    TABLE,
    "labelled clips whose audio differs in suffix, case or leading Y",
    "name them in the label file as the audio is named",
)
def misnamed(file: LabelFile, data: Data) -> Iterable[Place]:
    """There is no such clip, but one of another suffix, case or leading Y."""
    return (f"{at}: {name} (there is {near})" for at, name, near in file.missing if near)


@rule(TABLE, "names that could mean several clips", "write the folder in front of the name")
def ambiguous(file: LabelFile, data: Data) -> Iterable[Place]:
    """The basename stands for several clips."""
    return file.mismatches("ambiguous")


@rule(TABLE, "names that mean a clip that another name means, too", "keep one of the names")
def same_clip(file: LabelFile, data: Data) -> Iterable[Place]:
    """Two names of one file would be one clip."""
    return file.mismatches("same-clip")


@rule(TABLE, "names that match by their basename, or but for \\ and Unicode form")
def by_basename(file: LabelFile, data: Data) -> Iterable[Place]:
    r"""The folders differ, or the name has a ``\`` or another Unicode form (NFC, NFD)."""
    for name, match in file.matches.items():
        if not match.fault and match.clip != name:
            yield f"{file.at(file.first_rows[name])}: {name} is {match.clip}"


@rule(
    TABLE,
    "events that end after their audio",
    "check that times count from the start of the clip, and that the audio is whole",
    of=("strong",),
)
def past_end(file: LabelFile, data: Data) -> Iterable[Place]:
    """Audio and labels may not belong together."""
    for row in file.events():
        clip = data.clips.get(file.clip_of[row.name])
        if clip and clip.duration is not None and row.offset > clip.duration + TOLERANCE:
            what = f"{row.labels[0]} to {row.offset:.3f} s, the audio ends at"
            yield f"{file.at(row)}: {row.name}: {what} {clip.duration:.3f} s{_source(row)}"


def _source(row: Row) -> str:
    """Return a hint if the times are in the clip's name, as in AudioSet's lists."""
    if row.onset and f"_{row.onset:.3f}_{row.offset:.3f}" in row.name:
        return "; these are the clip's own times in a longer recording"
    return ""


# Two label files


@rule(
    PAIR,
    "clips in both files: not one to train and one to validate on",
    "take the clips out of one of the files, unless both are trained on",
)
def shared_clip(one: LabelFile, other: LabelFile) -> Iterable[Place]:
    """Leakage if one of them validates: both are of a kind, or share some of their clips."""
    return () if _are_parallel(one, other) else _common(one, other)


@rule(PAIR, "clips in both files: not one to train and one to validate on")
def parallel_labels(one: LabelFile, other: LabelFile) -> Iterable[Place]:
    """All clips of a weak or strong file are in one of the other kind, or some are unlabelled."""
    return _common(one, other) if _are_parallel(one, other) else ()


@rule(
    PAIR,
    "clips with events of classes that are not in their weak labels",
    "correct one of the two files",
)
def contradiction(one: LabelFile, other: LabelFile) -> Iterable[Place]:
    """The strong labels of a clip have a class that its weak labels do not have."""
    return _only_in("strong", one, other)


@rule(PAIR, "clips with weak labels of which no event is listed")
def unlocated(one: LabelFile, other: LabelFile) -> Iterable[Place]:
    """The weak labels of a clip have a class that its strong labels do not have."""
    return _only_in("weak", one, other)


def _common(one: LabelFile, other: LabelFile) -> list[str]:
    names = other.labels_by_clip
    return [clip for clip in one.labels_by_clip if clip in names]


def _are_parallel(one: LabelFile, other: LabelFile) -> bool:
    if one.kind == other.kind:
        return False
    fewest = min(len(one.labels_by_clip), len(other.labels_by_clip))
    return "unlabelled" in (one.kind, other.kind) or len(_common(one, other)) == fewest


def _only_in(kind: str, one: LabelFile, other: LabelFile) -> Iterator[str]:
    """Yield the clips that have labels in the file of this kind alone, of a weak and a strong."""
    if {one.kind, other.kind} != {"weak", "strong"}:
        return
    first, second = (one, other) if one.kind == kind else (other, one)
    labels, others = first.labels_by_clip, second.labels_by_clip
    for clip in _common(one, other):
        if extra := labels[clip] - others[clip]:
            yield f"{clip}: {', '.join(sorted(extra))} not in its {second.kind} labels"


RULES = {rule.kind: rule for rule in (*AUDIO, *TABLE, *PAIR)}
