"""What all settings share: checks, and their way into artifacts and back."""

import ast
import dataclasses
import functools
import json
import math
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sedtool.errors import ArtifactError, ConfigError
from sedtool.text import quoted, suggestion

Seconds = float
T = TypeVar("T")

REQUIRED = dataclasses.MISSING  # the default of a setting that has none
SEEDS = f"[0, {2**63 - 1}]"
DEVICE = "auto"  # where networks run
DEVICES = (DEVICE, "cpu", "cuda", "mps")  # cuda:1 and so on besides


@dataclass(frozen=True)
class Setting:
    """What the command line says of a field of settings, and which values `require_valid` lets in.

    The name, type and default of an option are those of the field.
    """

    help: str
    choices: tuple[str, ...] = ()
    # An interval such as [0, 1), for each number of a tuple. Many end at 1e6: more is a slip of the
    # hand.
    within: str = ""
    names: tuple[str, ...] = ()  # of a text that may be more than a name: what completes it
    metavar: str | None = None  # in --help, in place of the type
    shown: str | None = None  # in --help, in place of the default
    paired: bool = False  # a flag that --no-NAME takes back
    added: bool = False  # older artifacts do not have it, and mean its default


def setting(default: Any, help: str, **about: Any) -> Any:
    """Return a field of a dataclass that may be an option; `about` are fields of `Setting`."""
    return dataclasses.field(default=default, metadata={"setting": Setting(help, **about)})


def as_in(cls: type, name: str, **others: Any) -> Any:
    """Return the field that another dataclass has, but for `others`, such as a default."""
    entry = cls.__dataclass_fields__[name]  # type: ignore[attr-defined]  # it is a dataclass
    return dataclasses.field(**{"default": entry.default, "metadata": entry.metadata, **others})


def require(condition: bool, message: str) -> None:
    """Raise a ConfigError unless a condition holds."""
    if not condition:
        raise ConfigError(message)


def require_valid(config: Any) -> None:
    """Raise a ConfigError if a field, or a part of it, is not what its `Setting` lets in."""
    for entry in dataclasses.fields(config):
        value, about = getattr(config, entry.name), entry.metadata.get("setting")
        if about and about.choices:
            valid = ", ".join(about.choices)
            require(
                value in about.choices, f"{entry.name} must be one of {valid}, not {quoted(value)}"
            )
        if about and about.within and value is not None:
            inside = is_within(about.within, value)
            require(inside, f"{entry.name} must be in {about.within}, not {value}")


class Checked:
    """Settings that are what their `Setting` lets in as soon as they are made."""

    def __post_init__(self) -> None:
        require_valid(self)


def is_within(interval: str, value: Any) -> bool:
    """Return whether a number, or each of a tuple, is in an interval such as ``[0, 1)``."""
    if isinstance(value, tuple):
        return all(is_within(interval, part) for part in value)
    low, high = _ends(interval)
    closed = (value == low and interval[0] == "[") or (value == high and interval[-1] == "]")
    return bool(low < value < high) or closed


@functools.cache
def _ends(interval: str) -> tuple[float, float]:
    low, high = ast.literal_eval(f"({interval[1:-1]})")
    return low, high


def as_number(text: str) -> float:
    """Return the number that a text is; NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def lookup(table: dict[str, T], name: str, what: str, more: str = "") -> T:
    """Return ``table[name]``; a ConfigError lists the valid names, and says `more`."""
    if name not in table:
        raise ConfigError(
            f"unknown {what} {quoted(name)}; one of: "
            f"{', '.join(sorted(table))}{suggestion(name, table)}{more}"
        )
    return table[name]


def stated(config: Any) -> dict[str, Any]:
    """Return settings as an artifact has them: one that was added later only if it is not default.

    So the digest of a model stays what it is when a later sedtool knows of more settings.
    """
    entries = dataclasses.fields(config)
    values = {entry.name: getattr(config, entry.name) for entry in entries}
    idle = {e.name for e in added_fields(config) if values[e.name] == e.default}
    return {name: value for name, value in values.items() if name not in idle}


def to_json(config: Any) -> str:
    """Return a dataclass as JSON with sorted keys, as it is stored in an artifact."""
    return json.dumps(stated(config), sort_keys=True)


def from_json(cls: type[T], text: str, where: str) -> T:
    """Rebuild a flat dataclass that `to_json` wrote; `where` names the artifact in errors.

    The text may be a stranger's, so every field must be there, unless it was added since,
    and of its declared type.
    """
    try:
        values = {name: _tuples(value) for name, value in json.loads(text).items()}
        hints = get_type_hints(cls)
        types = {entry.name: hints[entry.name] for entry in dataclasses.fields(cls)}  # type: ignore[arg-type]
        added = {entry.name for entry in added_fields(cls)}
        for name in (values.keys() ^ types.keys()) - (added - values.keys()):
            raise ValueError(f"{name} is {'foreign' if name in values else 'missing'}")
        for name, value in values.items():
            if not _fits(value, types[name]):
                raise TypeError(f"{name} is {quoted(value)}, and so of a wrong type")
        return cls(**values)
    except (ValueError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        raise ArtifactError(f"{where}: settings cannot be read ({str(error)[:200]})") from error


def added_fields(cls: Any) -> list[dataclasses.Field[Any]]:
    """Return the fields of a dataclass that older artifacts do not have."""
    entries = dataclasses.fields(cls)
    return [entry for entry in entries if getattr(entry.metadata.get("setting"), "added", False)]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of an annotated type; JSON may drop the fraction of a float."""
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value) if isinstance(value, tuple) else ()
        return (
            isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
        )
    return type(value) in (int, float) if kind is float else type(value) is kind
