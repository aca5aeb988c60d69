"""How estimates are judged: tolerances, conventions, shares of overlap; and what is reported."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, NamedTuple, Self

from sedtool.config.base import (
    SEEDS,
    Checked,
    Seconds,
    as_number,
    require,
    require_valid,
    setting,
)
from sedtool.errors import ConfigError
from sedtool.text import quoted, suggestion


@dataclass(frozen=True)
class EvaluationConfig:
    """Tolerances and conventions of the metrics."""

    collar: Seconds = setting(
        0.2, "How far onsets and offsets of events may be apart, in seconds.", within="[0, 1e6]"
    )
    offset_ratio: float = setting(
        0.2,
        "Offsets may be apart by this share of the reference event, if that is more.",
        within="[0, 1e6]",
    )
    segment: Seconds = setting(1.0, "The length of a segment in seconds.", within="(0, 1e6]")
    engine: Literal["native", "sed_eval"] = setting(
        "native",
        "What counts events and segments: sedtool (native), or the sed_eval package.",
        choices=("native", "sed_eval"),
    )
    compat: Literal["", "dcase"] = setting(
        "", "dcase: treat classes without events as the DCASE challenges do.", names=("dcase",)
    )

    def __post_init__(self) -> None:
        require_valid(self)
        require(self.compat in ("", "dcase"), f"unknown compat {self.compat!r}; only 'dcase'")


@dataclass(frozen=True)
class EvaluateInputs(Checked):
    """The files to compare."""

    reference: Path  # strong labels
    estimated: Path  # an event list, a scores file, or a folder of score tables or event lists
    classes: Path | None = setting(None, "Score only these classes, one a line.")
    min_confidence: float | None = setting(
        None, "Leave out strong labels whose confidence is below this, 0 to 1.", within="[0, 1]"
    )
    durations: Path | None = setting(
        None, "The durations of clips: a TSV file (filename, duration) or a folder of audio."
    )
    weak_reference: Path | None = setting(None, "Weak labels that clip F1 is scored by.")
    weak_estimated: Path | None = setting(None, "Tags of clips that clip F1 is scored on.")
    partial: bool = setting(False, "Score one shard of several as if it were the whole.")
    against: Path | None = setting(
        None, "Other estimated events: test whether the scores differ by more than chance."
    )
    groups: Path | None = setting(
        None, "A TSV file (filename, group): groups of clips are resampled, not clips."
    )

    @property
    def has_list(self) -> bool:
        """Return whether every system has one event list, and not a folder of files."""
        return not any(path and path.is_dir() for path in (self.estimated, self.against))

    @property
    def files(self) -> list[Path]:
        """Return all that is given."""
        return [value for value in vars(self).values() if isinstance(value, Path)]


@dataclass(frozen=True)
class IntersectionConfig(Checked):
    """The three criteria of intersection-based metrics, each a share."""

    dtc: float = setting(
        0.5,
        "The share of an estimated event that references must cover (intersection).",
        within="[0, 1]",
    )
    gtc: float = setting(
        0.5,
        "The share of a reference event that estimates must cover (intersection).",
        within="[0, 1]",
    )
    cttc: float = setting(
        0.3,
        "The share of a false positive that references of another class must cover.",
        within="[0, 1]",
    )


@dataclass(frozen=True)
class PsdsConfig:
    """A scenario of the polyphonic sound detection score."""

    dtc: float = 0.7  # as in IntersectionConfig
    gtc: float = 0.7
    cttc: float = 0.3  # without effect where alpha_ct is 0
    alpha_ct: float = setting(
        0.0, "The weight of cross-triggers in the effective rate.", within="[0, 1]"
    )
    alpha_st: float = setting(
        1.0, "The weight of the standard deviation over classes.", within="[0, 1e6]"
    )
    max_efpr: float = setting(
        100.0, "Effective false positives an hour, where the curve ends.", within="(0, 1e6]"
    )

    def __post_init__(self) -> None:
        require_valid(self)
        _ = self.criteria  # checks the three of them

    @property
    def criteria(self) -> IntersectionConfig:
        """Return what decides which events count."""
        return IntersectionConfig(self.dtc, self.gtc, self.cttc)


# Of DCASE task 4 from 2021 on: the first asks for precise times, the second for the right class.
PSDS_SCENARIOS = {"psds1": PsdsConfig(), "psds2": PsdsConfig(dtc=0.1, gtc=0.1, alpha_ct=0.5)}

RATED = ("event", "segment", "clip", "onset", "intersection")  # have F1, precision and recall
METRICS = (*RATED, "error-rate", "errors", *PSDS_SCENARIOS)
USUAL = ("event", "segment", "clip")  # where no metric is named
_OF_SCORES = tuple(PSDS_SCENARIOS)  # what is left where no single event list is given
_OF_EVENTS = ("event", "onset", "error-rate", "errors")
# The metrics that use a setting; what is not named here is used by all.
_USED_BY = {
    "collar": _OF_EVENTS,
    "offset_ratio": ("event", "error-rate", "errors"),
    "segment": ("segment", "error-rate"),
    "dtc": ("intersection",),
    "gtc": ("intersection",),
    "engine": ("event", "segment", "clip", "onset"),
    "weak_reference": ("clip",),
    "weak_estimated": ("clip",),
    "durations": ("segment", "error-rate", *_OF_SCORES, "psds"),
}
_OF_RESAMPLES = ("seed", "confidence")
RESAMPLES = 10_000  # for a difference, where no number is given
REPORT_FORMATS = ("table", "tsv", "json", "md", "latex")


class Limit(NamedTuple):
    """A score, by name, and the least that it may be."""

    name: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``event_f1=0.30``."""
        name, _, number = text.partition("=")
        value = as_number(number)
        require(
            0 <= value <= 1,
            "fail_under must be a score and a value in [0, 1], as in event_f1=0.30, "
            f"not {quoted(text)}",
        )
        return cls(name.strip(), value)


@dataclass(frozen=True, kw_only=True)
class ResamplingConfig:
    """How scores are resampled."""

    seed: int = setting(0, "The seed of the resamples.", within=SEEDS)
    confidence: float = setting(0.95, "The confidence of intervals, 0 to 1.", within="(0, 1)")


@dataclass(frozen=True)
class CompareConfig(ResamplingConfig):
    """How poolings are compared, and how far the comparison can be trusted."""

    against: str | None = setting(
        None,
        "The pooling that others are compared with; by default, linear if it is there, else the "
        "first.",
        metavar="POOLING",
    )
    resamples: int = setting(
        RESAMPLES,
        "How often clips and seeds are resampled for intervals and p-values.",
        within="[1, 1e6]",
    )

    def __post_init__(self) -> None:
        require_valid(self)
        require(self.against != "", "against is empty; name a pooling")


@dataclass(frozen=True)
class CorrelationConfig(Checked):
    """How the interval of a rank correlation is found."""

    resamples: int = setting(
        2000,
        "How often classes are resampled for the interval of the correlation.",
        within="[100, 1e6]",
    )
    level: float = setting(0.95, "The confidence of the interval, 0 to 1.", within="(0, 1)")
    seed: int = setting(0, "The seed of the resamples.", within=SEEDS)


@dataclass(frozen=True)
class ReportConfig(ResamplingConfig):
    """Which metrics are computed, and what is asked of them."""

    metrics: tuple[str, ...] = ()  # none: event, segment and clip; of a folder PSDS
    intersection: IntersectionConfig = field(default_factory=IntersectionConfig)
    psds: PsdsConfig | None = None  # a scenario beside psds1 and psds2, named psds
    bootstrap: int | None = setting(  # None: none, or `RESAMPLES` with a second system
        None,
        "Give each score an interval from N resamples of clips.",
        within="[1, 1e6]",
        metavar="N",
    )
    limits: tuple[Limit, ...] = ()  # scores that must be reached
    strict: bool = setting(False, "Treat warnings as errors.")

    def __post_init__(self) -> None:
        for name in self.metrics:
            require(name in METRICS, f"metrics has an {_unknown(name, METRICS)}")
        require(
            len(set(self.metrics)) == len(self.metrics), "metrics must name each metric only once"
        )
        require_valid(self)

    @property
    def resamples(self) -> int:
        """Return how many resamples there are, if there are any."""
        return self.bootstrap or RESAMPLES

    def require_used(self, settings: Iterable[str], has_list: bool, is_resampled: bool) -> None:
        """Raise a ConfigError if one of these settings is used by nothing that is computed."""
        computed = {*self.chosen(has_list), *self.scenarios(has_list)}
        for name in settings:
            if name in _OF_RESAMPLES and not is_resampled:
                raise ConfigError(f"{name} is used by --bootstrap and --against; give one of them")
            users = _USED_BY.get(name)
            if users and computed.isdisjoint(users):
                named = f"{'metric' if len(users) == 1 else 'metrics'} {', '.join(users)}"
                raise ConfigError(f"{name} is used by the {named}; add one to --metrics")

    def require_scores(self, has_list: bool) -> None:
        """Raise a ConfigError, with the valid names, if a limit is of no score that is computed."""
        valid = [
            f"{metric}_{kind}{rate}"
            for metric in self.chosen(has_list)
            if metric in RATED
            for kind in ("", "micro_")
            for rate in ("f1", "precision", "recall")
        ]
        valid += self.scenarios(has_list)
        for limit in self.limits:
            if limit.name not in valid:
                raise ConfigError(
                    f"fail_under {quoted(limit.name)} is no score of this evaluation; those are "
                    f"{', '.join(valid) or 'none'}{suggestion(limit.name, valid)}; "
                    "--metrics adds others"
                )

    def chosen(self, has_list: bool) -> tuple[str, ...]:
        """Return the metrics to compute, in the order of reports; those of --psds aside."""
        usual = () if self.psds else _OF_SCORES
        chosen = self.metrics or (USUAL if has_list else usual)
        return tuple(name for name in METRICS if name in chosen)

    def scenarios(self, has_list: bool) -> dict[str, PsdsConfig]:
        """Return the scenarios of PSDS to compute."""
        chosen = self.chosen(has_list)
        named = {name: psds for name, psds in PSDS_SCENARIOS.items() if name in chosen}
        return named | ({"psds": self.psds} if self.psds else {})


def parse_metrics(text: str) -> tuple[str, ...]:
    """Read ``event,segment,psds1``."""
    names = tuple(name.strip() for name in text.split(","))
    require(all(names), f"metrics must be names with commas between them, not {quoted(text)}")
    return names


def parse_psds(text: str) -> PsdsConfig:
    """Read ``dtc=0.5,gtc=0.5,alpha_ct=0.5``; what is not named is as in the first scenario."""
    valid = tuple(entry.name for entry in fields(PsdsConfig))
    values: dict[str, float] = {}
    for item in text.split(","):
        name, _, number = (part.strip() for part in item.partition("="))
        require(name in valid, f"psds has an {_unknown(name, valid)}")
        require(name not in values, f"psds gives {name} twice")
        values[name] = as_number(number)
        require(math.isfinite(values[name]), f"psds {name} must be a number, not {quoted(number)}")
    try:
        return PsdsConfig(**values)
    except ConfigError as error:
        raise ConfigError(f"psds {error}") from None


def _unknown(name: str, valid: tuple[str, ...]) -> str:
    return f"unknown name {quoted(name)}; one of: {', '.join(valid)}{suggestion(name, valid)}"
