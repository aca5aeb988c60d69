"""Lists of poolings, settings and seeds, as they are typed -> the runs of a sweep."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from sedtool.config import PoolingConfig
from sedtool.errors import ConfigError
from sedtool.pooling import find_pooling
from sedtool.runs import name_of, run_name, same_pooling
from sedtool.shards import Shard
from sedtool.sweep.stages import Run, SweepSettings
from sedtool.text import quoted

_MOST_RUNS = 100_000
_COMMA = re.compile(r",(?![^\[]*\])")  # but for those in brackets
_KEY = r"[a-z-]+\.[a-z0-9-]+"  # SECTION.KEY


def parse_poolings(texts: Iterable[str]) -> tuple[str, ...]:
    """Read lists of poolings: ``power,rap:lambda=1e-2,init=0,max`` are three.

    A pooling that is given twice, also in other words, is refused.
    """
    found = [pooling for text in texts for pooling in _values(text, "pooling")]
    _refuse_doubles(found)
    return tuple(found)


def parse_varied(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read settings with their values: ``train.lr=1e-3,3e-4`` varies one setting, with two values.

    What stands in brackets is one value: ``train.batch-size=[6,12,6],[12,24,12]``.
    """
    found: dict[str, list[str]] = {}
    # A list in a recipe may have been split at its commas.
    for text in re.split(rf",\s*(?={_KEY}=)", ",".join(texts)) if texts else ():
        key, equals, values = text.strip().partition("=")
        if not (equals and re.fullmatch(_KEY, key)):
            raise ConfigError(
                f"vary {quoted(text)}: expected SECTION.KEY=VALUE,... as in train.lr=1e-3,3e-4"
            )
        found.setdefault(key, []).extend(_values(values, f"vary {key}"))
    for key, given in found.items():
        if double := next((value for value in given if given.count(value) > 1), None):
            raise ConfigError(f"vary {key}={double} is given twice")
    _require_few(math.prod(map(len, found.values())))
    return {key: tuple(values) for key, values in found.items()}


def _values(text: str, what: str) -> list[str]:
    """Split a list at its commas, which stand between the options of one value, too.

    An item with ``=`` and without ``:`` is one more option of the value before it, for no value
    begins like that.
    """
    found: list[str] = []
    for item in (part.strip() for part in _COMMA.split(text)):
        if not item:
            raise ConfigError(f"{what} {quoted(text)} has an empty item")
        if not found or "=" not in item or ":" in item:
            found.append(item)
        elif ":" in found[-1]:
            found[-1] += f",{item}"
        else:
            raise ConfigError(
                f"{what} {quoted(text)}: {quoted(item)} belongs to nothing; NAME:key=value,..."
            )
    return found


def _refuse_doubles(texts: Sequence[str]) -> None:
    """Raise a ConfigError if two texts are one pooling, or one is none."""
    seen: dict[str, str] = {}
    for text in texts:
        find_pooling(PoolingConfig.parse(text).name)
        first = seen.setdefault(same_pooling(text), text)
        if first != text or texts.count(text) > 1:
            what = f": {quoted(first)} is the same pooling" if first != text else ""
            raise ConfigError(f"pooling {quoted(text)} is given twice{what}")


def parse_seeds(texts: Iterable[str]) -> tuple[int, ...]:
    """Read lists of numbers and ranges: ``0-4`` or ``0,2,5-7``, each end included."""
    text = ",".join(texts)
    seeds: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", item.strip())
        if match is None:
            raise ConfigError(
                f"seeds must be numbers and ranges such as 0-4 or 0,2,5-7, not {quoted(text)}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first < _MOST_RUNS:
            raise ConfigError(
                f"seeds {quoted(item.strip())}: the range must go up, by {_MOST_RUNS} at most"
            )
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds {quoted(text)} name a seed twice")
    return tuple(seeds)


def grid(
    poolings: Sequence[str], variants: Sequence[SweepSettings], seeds: Sequence[int]
) -> list[Run]:
    """Return the runs: every pooling and setting with the first seed, then with the next.

    A sweep that is stopped early has then as many seeds of one as of another. Without poolings,
    that of the settings is used.
    """
    _require_few(len(poolings or "1") * len(variants) * len(seeds))
    for n, mine in enumerate(variants):
        for other in variants[:n]:
            if mine == other or name_of("", mine.varied) == name_of("", other.varied):
                both = (" ".join(each.varied) for each in (other, mine))
                raise ConfigError(f"vary {' and '.join(both)}: these are the same runs, or folders")
    return [
        Run(run_name(pooling, seed, settings.varied), pooling, seed, settings)
        for seed in seeds
        for settings in variants
        for pooling in poolings or (settings.training.pooling,)
    ]


def _require_few(n_runs: int) -> None:
    if n_runs > _MOST_RUNS:
        raise ConfigError(f"{n_runs} runs are more than {_MOST_RUNS}: poolings, settings and seeds")


def part_of(runs: Sequence[Run], shard: str | None, environment: Mapping[str, str]) -> list[Run]:
    """Return the runs of a part: I/N, or what a job array says with auto; all for None."""
    if shard is None:
        return list(runs)
    chosen = set(Shard.parse(shard, environment).select([run.name for run in runs]))
    return [run for run in runs if run.name in chosen]
