"""Systems -> a comparison: means, the best ones, and how each differs from a reference system."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sedtool.comparison.runs import RunSet
from sedtool.comparison.scoring import METRICS, RATES, Column, System
from sedtool.config import EvaluationConfig, PoolingConfig
from sedtool.config.comparison import CompareConfig
from sedtool.errors import ConfigError
from sedtool.evaluation.resampling import Difference, difference, holm, resample

__all__ = ["Comparison", "Gain", "compare_systems", "is_power"]

_USUAL = "linear"  # what power pooling is a generalisation of
# The order of the rows in the tables of the power-pooling paper.
_ORDER = (
    *("max", "average", "exponential", "attention", "attention-classes"),
    *("auto", "cap", "rap", "linear", "power", "hierarchical"),
)


@dataclass(frozen=True)
class Gain:
    """A system against the reference system, in one column."""

    difference: Difference
    p_holm: float  # p as one of those of all systems in this column

    def relative(self, reference: float) -> float:
        """Return the difference as a share of the reference's score; NaN of nothing."""
        return self.difference.observed / reference if reference > 0 else math.nan


@dataclass(frozen=True)
class Comparison:
    """All that the tables say."""

    systems: tuple[System, ...]  # in the order of rows
    against: str  # the label of the reference system
    tests: Mapping[Column, Mapping[str, Gain]]  # of all systems but the reference, by label
    paper: Mapping[str, Mapping[Column, float]]  # by pooling
    missing: tuple[str, ...]  # runs that are not in it
    config: CompareConfig
    scoring: EvaluationConfig
    n_clips: int
    classes: tuple[str, ...]
    unheard: Mapping[str, tuple[str, ...]]  # by metric: the classes without a reference
    warnings: tuple[str, ...]  # of the evaluation of any run

    def title(self, system: System) -> str:
        """Return a short name: options of a pooling stand in it where they tell it from others."""
        mine = PoolingConfig.parse(system.pooling)
        pools = [PoolingConfig.parse(other.pooling) for other in self.systems]
        options = [pooling.options for pooling in pools if pooling.name == mine.name]
        telling = {
            key: value
            for key, value in mine.options.items()
            if any(other.get(key) != value for other in options)
        }
        extra = system.label.removeprefix(system.pooling)
        return f"{PoolingConfig(mine.name, telling)}{extra}"

    def published(self, system: System) -> Mapping[Column, float]:
        """Return the paper's numbers of a system: by its pooling, else by a name it has alone."""
        if system.pooling in self.paper or system.label != system.pooling:
            return self.paper.get(system.label, {})
        name = PoolingConfig.parse(system.pooling).name
        theirs = [text for text in self.paper if PoolingConfig.parse(text).name == name]
        ours = [s for s in self.systems if PoolingConfig.parse(s.pooling).name == name]
        return self.paper[theirs[0]] if len(theirs) == len(ours) == 1 else {}

    def system(self, label: str) -> System:
        """Return a system by its label."""
        return next(system for system in self.systems if system.label == label)

    @property
    def reference(self) -> System:
        """Return the reference system."""
        return self.system(self.against)

    def best(self, column: Column, without_power: bool = False) -> list[System]:
        """Return those with the highest mean, of all or of the systems without power pooling."""
        systems = [s for s in self.systems if not (without_power and is_power(s))]
        means = [system.mean(column) for system in systems]
        highest = max((mean for mean in means if not math.isnan(mean)), default=math.nan)
        pairs = zip(systems, means, strict=True)
        return [s for s, mean in pairs if math.isclose(mean, highest, abs_tol=1e-12)]

    def uneven(self) -> list[str]:
        """Say which systems lack seeds that others have."""
        every = sorted({seed for system in self.systems for seed in system.seeds})
        lacking = {s.label: [n for n in every if n not in s.seeds] for s in self.systems}
        return [
            f"{label} lacks seed {', '.join(map(str, seeds))}"
            for label, seeds in lacking.items()
            if seeds
        ]


def is_power(system: System) -> bool:
    """Return whether a system pools by power pooling, alone or at the base of a hierarchy."""
    pooling = PoolingConfig.parse(system.pooling)
    return "power" in (pooling.name, pooling.options.get("base"))


def compare_systems(
    systems: Sequence[System],
    run_set: RunSet,
    paper: Mapping[str, Mapping[Column, float]],
    config: CompareConfig,
) -> Comparison:
    """Put systems in order and test each against the reference one.

    Raises
    ------
    ConfigError
        If the reference is not among the systems.
    """
    ordered = sorted(systems, key=_place)
    against = _against(ordered, config.against)
    return Comparison(
        tuple(ordered),
        against,
        _tests(ordered, against, config),
        paper,
        run_set.missing,
        config,
        run_set.runs[0].config,
        next(iter(systems[0].counts.values())).shape[1],
        run_set.runs[0].classes,
        {metric: run_set.runs[0].unheard(metric) for metric in METRICS},
        tuple(dict.fromkeys(text for system in ordered for text in system.warnings)),
    )


def _place(system: System) -> tuple[int, str]:
    name = PoolingConfig.parse(system.pooling).name
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), system.label)


def _against(systems: Sequence[System], wanted: str | None) -> str:
    """Return the label of the reference system."""
    labels = [system.label for system in systems]
    if wanted is None:
        return _USUAL if _USUAL in labels else labels[0]
    pooling, _, rest = wanted.partition(" ")
    label = " ".join(filter(None, [str(PoolingConfig.parse(pooling)), rest]))
    of_that_name = [s.label for s in systems if PoolingConfig.parse(s.pooling).name == wanted]
    if label not in labels and len(of_that_name) == 1:
        return of_that_name[0]
    if label not in labels:
        raise ConfigError(f"against {wanted!r} is none of the poolings here: {', '.join(labels)}")
    return label


def _tests(
    systems: Sequence[System], against: str, config: CompareConfig
) -> dict[Column, dict[str, Gain]]:
    """Test every system but the reference in every column."""
    others = [i for i, system in enumerate(systems) if system.label != against]
    base = next(i for i, system in enumerate(systems) if system.label == against)
    tests: dict[Column, dict[str, Gain]] = {}
    for metric in METRICS:
        counts = [system.counts[metric] for system in systems]
        rates = resample(counts, config.resamples, config.seed)  # (systems, B, 3)
        for place, rate in enumerate(RATES):
            column = (metric, rate)
            found = [
                difference(
                    systems[i].mean(column) - systems[base].mean(column),
                    rates[i, :, place],
                    rates[base, :, place],
                    config.confidence,
                )
                for i in others
            ]
            adjusted = holm([each.p for each in found])
            tests[column] = {
                systems[i].label: Gain(each, p)
                for i, each, p in zip(others, found, adjusted, strict=True)
            }
    return tests
