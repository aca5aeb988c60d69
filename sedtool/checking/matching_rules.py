"""What can be wrong between label files and audio, and between two label files."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from sedtool.checking.clips import Clip
from sedtool.checking.label_rules import TOLERANCE
from sedtool.checking.report import Finding, found
from sedtool.checking.rows import LabelFile
from sedtool.labels import NameIndex
from sedtool.labels.tables import Row

__all__ = ["Matched", "check_copies", "check_pairs", "check_unlabelled", "match"]


@dataclass(frozen=True)
class Matched:
    """A label file whose names are matched to clips."""

    file: LabelFile
    clip_of: Mapping[str, str]  # name in the file -> clip; a clip without audio has its own name

    def heard(self) -> dict[str, set[str]]:
        """Return the labels of each clip."""
        heard: dict[str, set[str]] = defaultdict(set)
        for name, labels in self.file.heard().items():
            heard[self.clip_of[name]] |= labels
        return heard


def match(
    files: Iterable[LabelFile], clips: Mapping[str, Clip]
) -> tuple[list[Matched], list[Finding]]:
    """Find the clip of each name in the label files, as every stage does."""
    index = NameIndex(clips)
    matched, findings = [], []
    for file in files:
        clip_of, found_here = _match_one(file, index)
        matched.append(Matched(file, clip_of))
        findings += found_here
        findings += found("past-end", file.path, _past_end(file, clip_of, clips))
    return matched, findings


def _match_one(file: LabelFile, index: NameIndex) -> tuple[dict[str, str], list[Finding]]:
    clip_of: dict[str, str] = {}
    places: dict[str, list[str]] = defaultdict(list)
    rows = file.first_rows()
    for match in index.matches(rows):
        at, name = file.at(rows[match.name]), match.name
        clip_of[name] = match.clip or name
        if match.fault == "missing":
            near = index.nearest(name)
            clip_of[name] = near or name
            kind = "misnamed" if near else "missing"
            places[kind].append(f"{at}: {name}{index.hint(name)}")
        elif match.fault:
            places[match.fault].append(f"{at}: {match.message}")
        elif match.clip != name:
            places["by-basename"].append(f"{at}: {name} is {match.clip}")
    return clip_of, [f for kind, at in places.items() for f in found(kind, file.path, at)]


def _past_end(
    file: LabelFile, clip_of: Mapping[str, str], clips: Mapping[str, Clip]
) -> Iterator[str]:
    for row in file.events():
        clip = clips.get(clip_of[row.name])
        if clip and clip.duration is not None and row.offset > clip.duration + TOLERANCE:
            yield (
                f"{file.at(row)}: {row.name}: {row.labels[0]} to {row.offset:.3f} s, "
                f"the audio ends at {clip.duration:.3f} s{_whose_times(row)}"
            )


def _whose_times(row: Row) -> str:
    """Return a hint if the times are in the clip's name, as in AudioSet's lists."""
    if row.onset and f"_{row.onset:.3f}_{row.offset:.3f}" in row.name:
        return "; these are the clip's own times in a longer recording"
    return ""


def check_unlabelled(matched: Iterable[Matched], clips: Mapping[str, Clip]) -> list[Finding]:
    """Return the clips that no label file names."""
    named = {clip for labels in matched for clip in labels.clip_of.values()}
    return found("unlabelled", "audio", (name for name in clips if name not in named))


def check_copies(copies: Collection[list[str]], matched: Iterable[Matched]) -> list[Finding]:
    """Return the recordings with several names: leaks between label files, and other copies."""
    files: dict[str, set[str]] = defaultdict(set)
    for labels in matched:
        for clip in labels.clip_of.values():
            if labels.file.kind != "unlabelled":
                files[clip].add(str(labels.file.path))
    leaks, others, n_others = [], [], 0
    for names in copies:
        labelled = [name for name in names if files[name]]
        apart = any(files[a].isdisjoint(files[b]) for a, b in combinations(labelled[:100], 2))
        if apart:
            shown = (f"{name} ({', '.join(sorted(files[name]))})" for name in labelled[:5])
            leaks.append(" = ".join(shown))
        else:
            n_others += len(names) - 1
            others.append(" = ".join(names[:5]))
    return [
        *found("leak", "audio", leaks),
        *found("duplicate-audio", "audio", others, n_others),
    ]


def check_pairs(matched: Collection[Matched]) -> list[Finding]:
    """Compare the label files with each other."""
    findings = []
    for one, other in combinations(matched, 2):
        first, second = one.heard(), other.heard()
        common = [clip for clip in first if clip in second]
        if not common:
            continue
        where = f"{one.file.path}, {other.file.path}"
        kinds = {one.file.kind, other.file.kind}
        parallel = "unlabelled" in kinds or len(common) == min(len(first), len(second))
        kind = "parallel-labels" if len(kinds) == 2 and parallel else "shared-clip"
        findings += found(kind, where, common)
        if kinds == {"weak", "strong"}:
            weak, strong = (first, second) if one.file.kind == "weak" else (second, first)
            findings += found("contradiction", where, _lacking(common, strong, weak, "weak"))
            findings += found("unlocated", where, _lacking(common, weak, strong, "strong"))
    return findings


def _lacking(
    clips: Iterable[str],
    given: Mapping[str, set[str]],
    labels: Mapping[str, set[str]],
    kind: str,
) -> Iterator[str]:
    for clip in clips:
        lacking = given[clip] - labels[clip]
        if lacking:
            yield f"{clip}: {', '.join(sorted(lacking))} not in its {kind} labels"
