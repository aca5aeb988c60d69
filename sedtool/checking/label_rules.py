"""What can be wrong with a label file by itself. Times are seconds."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from statistics import fmean, median

from sedtool.checking.report import ClassSummary, FileSummary, Finding, found
from sedtool.checking.rows import LabelFile
from sedtool.errors import LabelError
from sedtool.labels import Vocabulary
from sedtool.labels.tables import Row

__all__ = ["TOLERANCE", "check_labels", "check_spelling", "summarise", "summarise_classes"]

TOLERANCE = 0.001 + 1e-9  # seconds: two times rounded to three decimals, and floating point
RARE = 10  # clips
FAULTS = {"file": "unreadable-labels", "row": "bad-row", "time": "bad-time"}


def check_labels(
    file: LabelFile, classes: Iterable[str], vocabulary: Vocabulary | None = None
) -> list[Finding]:
    """Check one label file.

    Parameters
    ----------
    file
        Its rows.
    classes
        The labels to count clips of.
    vocabulary
        The class list, if there is one.
    """
    where = file.path
    faults = {kind: [str(f) for f in file.faults if f.kind == kind] for kind in FAULTS}
    is_empty = not (file.rows or file.faults)
    findings = [
        *(finding for kind in FAULTS for finding in found(FAULTS[kind], where, faults[kind])),
        *found("empty-file", where, [str(where)] if is_empty else []),
    ]
    if not file.rows:
        return findings
    findings += _unknown_labels(file, vocabulary) if vocabulary else []
    findings += _repeated(file)
    if file.kind == "weak":
        findings += _relabelled(file)
    if file.kind == "strong":
        findings += found("zero-length", where, _zero_length(file))
        findings += found("overlap", where, _neighbours(file, touching=False))
        findings += found("touching", where, _neighbours(file, touching=True))
    if file.kind != "unlabelled":
        findings += found("without-labels", where, _without_labels(file))
        findings += found("rare-class", where, _rare(file, classes))
    return findings


def _unknown_labels(file: LabelFile, vocabulary: Vocabulary) -> list[Finding]:
    """Return a finding that counts rows, and shows each label once."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in file.rows:
        for label in row.labels:
            if label not in vocabulary:
                rows[label].append(row)

    def places() -> Iterator[str]:
        for label, among in list(rows.items())[:5]:  # a suggestion takes time
            try:
                vocabulary.index(label)
            except LabelError as error:
                yield f"{file.at(among[0])}: {error} (rows: {len(among)})"

    return found("unknown-label", file.path, places(), sum(map(len, rows.values())))


def _repeated(file: LabelFile) -> list[Finding]:
    """Return the rows that say what an earlier row says."""
    first: dict[tuple[object, ...], Row] = {}
    events: list[str] = []
    others: list[str] = []
    for row in file.rows:
        key = (row.name, frozenset(row.labels), row.onset, row.offset)
        earlier = first.setdefault(key, row)
        if earlier is not row:
            is_event = file.kind == "strong" and row.labels
            what = f"{file.at(row)}: {row.name}: the same as line {earlier.line}"
            (events if is_event else others).append(what)
    return [
        *found("duplicate-event", file.path, events),
        *found("duplicate-row", file.path, others),
    ]


def _relabelled(file: LabelFile) -> list[Finding]:
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in file.rows:
        rows[row.name].append(row)
    differing = [a for a in rows.values() if len({frozenset(row.labels) for row in a}) > 1]
    one_each = all(len(row.labels) <= 1 for row in file.rows)

    def places() -> Iterator[str]:
        for among in differing:
            first, last = (", ".join(row.labels) or "no label" for row in (among[0], among[-1]))
            at = f"{file.at(among[-1])}: {among[-1].name}"
            yield f"{at}: {last}; in line {among[0].line} {first}"

    return found("added-labels" if one_each else "relabelled", file.path, places())


def _zero_length(file: LabelFile) -> Iterator[str]:
    for row in file.events():
        if row.offset == row.onset:
            yield f"{file.at(row)}: {row.name}: {row.labels[0]} at {row.onset:g} s"


def _neighbours(file: LabelFile, touching: bool) -> Iterator[str]:
    """Yield the events that overlap, or touch, an earlier one of their class and clip."""
    tracks: dict[tuple[str, str], set[tuple[float, float]]] = defaultdict(set)
    lines: dict[tuple[str, str, float, float], Row] = {}
    for row in file.events():
        if row.offset > row.onset:
            tracks[row.name, row.labels[0]].add((row.onset, row.offset))  # duplicates once
            lines.setdefault((row.name, row.labels[0], row.onset, row.offset), row)
    for (name, label), spans in tracks.items():
        end = -1.0
        for onset, offset in sorted(spans):
            gap = onset - end
            if (abs(gap) <= TOLERANCE) if touching else gap < -TOLERANCE:
                row = lines[name, label, onset, offset]
                yield f"{file.at(row)}: {name}: {label} from {onset:g} s, one ends at {end:g} s"
            end = max(end, offset)


def _without_labels(file: LabelFile) -> Iterator[str]:
    labelled = {row.name for row in file.rows if row.labels}
    for name, row in file.first_rows().items():
        if name not in labelled:
            yield f"{file.at(row)}: {name}"


def _rare(file: LabelFile, classes: Iterable[str]) -> Iterator[str]:
    counts = _clips_of(file)
    for label in classes:
        if counts[label] < RARE:
            yield f"{label}: {counts[label]} clips"


def _clips_of(file: LabelFile) -> Counter[str]:
    """Return the number of clips of each label."""
    pairs = {(row.name, label) for row in file.rows for label in row.labels}
    return Counter(label for _, label in pairs)


def check_spelling(files: Iterable[LabelFile]) -> list[Finding]:
    """Return the labels that are the same but for case, spaces, hyphens and underscores."""
    spellings: dict[str, dict[str, str]] = defaultdict(dict)
    for file in files:
        for row in file.rows:
            for label in row.labels:
                key = "".join(c for c in label.casefold() if not (c.isspace() or c in "_-"))
                spellings[key].setdefault(label, file.at(row))
    places = (
        "; ".join(f"{label!r} ({where})" for label, where in variants.items())
        for variants in spellings.values()
        if len(variants) > 1
    )
    return found("label-spelling", "label files", places)


def summarise(file: LabelFile) -> FileSummary:
    """Count a label file's rows, clips and events."""
    events = sum(1 for _ in file.events()) if file.kind == "strong" else None
    return FileSummary(str(file.path), file.kind, file.n_rows, len(file.first_rows()), events)


def summarise_classes(file: LabelFile, classes: Iterable[str]) -> list[ClassSummary]:
    """Count the clips and events of each class, and measure its events."""
    clips = _clips_of(file)
    lengths: dict[str, list[float]] = defaultdict(list)
    events: Counter[str] = Counter()
    for row in file.events():
        events[row.labels[0]] += 1
        if row.offset > row.onset:
            lengths[row.labels[0]].append(row.offset - row.onset)
    rows = []
    for label in classes:
        given = lengths[label]
        times = (sum(given), fmean(given), median(given), min(given), max(given)) if given else ()
        n_events = events[label] if file.kind == "strong" else None
        rows.append(ClassSummary(label, str(file.path), clips[label], n_events, *times))
    return rows
