"""Which runs there are: lists of poolings and of seeds, and the folder of each run."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sedtool.config import POOLING_NAMES, PoolingConfig, lookup
from sedtool.errors import ConfigError
from sedtool.runs import RunFolder, SweepFolder, SweepRecord, run_name, same_pooling
from sedtool.shards import Shard

_MOST_RUNS = 100_000


@dataclass(frozen=True)
class Run:
    """One training: a pooling, as it was written, and a seed."""

    pooling: str
    seed: int

    @property
    def name(self) -> str:
        """Return the folder of the run, below that of the sweep."""
        return run_name(self.pooling, self.seed)

    def folder(self, output: Path) -> RunFolder:
        """Return the run folder in the folder of the sweep."""
        return SweepFolder(output).run(self.name)


def parse_poolings(texts: Iterable[str]) -> tuple[str, ...]:
    """Read lists of poolings: ``power,rap:lambda=1e-2,init=0,max`` are three.

    Commas separate poolings and the options of one pooling alike. An item with ``=`` and without
    ``:`` is one more option of the pooling before it, for no pooling begins like that.

    Raises
    ------
    ConfigError
        If there is none, one is not known, or one is given twice, also in other words.
    """
    found: list[str] = []
    for text in texts:
        for place, item in enumerate(part.strip() for part in text.split(",")):
            if not item:
                raise ConfigError(f"pooling {text!r} has an empty item")
            if place and "=" in item and ":" not in item:
                if ":" not in found[-1]:
                    raise ConfigError(
                        f"pooling {text!r}: {item!r} belongs to no pooling; NAME:key=value,..."
                    )
                found[-1] += f",{item}"
            else:
                found.append(item)
    if not found:
        raise ConfigError("no pooling is given; power,linear are two")
    _refuse_doubles(found)
    return tuple(found)


def _refuse_doubles(texts: Sequence[str]) -> None:
    """Raise a ConfigError if two texts are one pooling, or one is none."""
    seen: dict[str, str] = {}
    for text in texts:
        lookup(dict.fromkeys(POOLING_NAMES, True), PoolingConfig.parse(text).name, "pooling")
        first = seen.setdefault(same_pooling(text), text)
        if first != text or texts.count(text) > 1:
            what = f": {first!r} is the same pooling" if first != text else ""
            raise ConfigError(f"pooling {text!r} is given twice{what}")


def parse_seeds(texts: Iterable[str]) -> tuple[int, ...]:
    """Read lists of numbers and ranges: ``0-4`` or ``0,2,5-7``, each end included.

    Raises
    ------
    ConfigError
        If they are no such lists, there is no seed in them, or one is in them twice.
    """
    text = ",".join(texts)
    seeds: list[int] = []
    for item in text.split(","):
        match = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", item.strip())
        if match is None:
            raise ConfigError(
                f"seeds must be numbers and ranges such as 0-4 or 0,2,5-7, not {text!r}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= last - first < _MOST_RUNS:
            raise ConfigError(
                f"seeds {item.strip()!r}: the range must go up, by {_MOST_RUNS} at most"
            )
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds {text!r} name a seed twice")
    return tuple(seeds)


def grid(poolings: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """Return the runs: every pooling with the first seed, then with the next, and so on.

    A sweep that is stopped early has then as many seeds of one pooling as of another.
    """
    if len(poolings) * len(seeds) > _MOST_RUNS:
        raise ConfigError(f"{len(poolings)} poolings with {len(seeds)} seeds are too many runs")
    return [Run(pooling, seed) for seed in seeds for pooling in poolings]


def under_known_names(runs: Sequence[Run], folder: SweepFolder) -> list[Run]:
    """Return runs with the poolings as they are written in the folder of a sweep, if they are.

    So `cap` and `cap:max=4.6`, which are the same pooling, are one run there.
    """
    known: dict[tuple[str, int], str] = {}
    for name in SweepRecord.read(folder.record).runs if folder.record.exists() else ():
        files = folder.run(name)
        if files.config.exists():
            config = files.read_settings().config
            known.setdefault((same_pooling(config.pooling), config.seed), config.pooling)
    names = {Run(pooling, seed).name for (_, seed), pooling in known.items()}
    return [
        run
        if run.name in names
        else Run(known.get((same_pooling(run.pooling), run.seed), run.pooling), run.seed)
        for run in runs
    ]


def part_of(runs: Sequence[Run], shard: str | None, environment: Mapping[str, str]) -> list[Run]:
    """Return the runs of a part: I/N, or what a job array says with auto; all where none is given.

    Raises
    ------
    ConfigError
        If there is no such part.
    """
    if shard is None:
        return list(runs)
    chosen = set(Shard.parse(shard, environment).select([run.name for run in runs]))
    return [run for run in runs if run.name in chosen]
