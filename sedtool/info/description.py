"""A description: an ordered mapping, as JSON and as text that fits a screen."""

import json
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from sedtool.errors import SedtoolError
from sedtool.text import aligned, plain

MOST_ROWS = 20  # of a table, as text
MOST_ITEMS = 8  # of a list, as text
MOST_TEXT = 200  # characters of one value, as text
MOST_KEYS = 50  # lines and tables, as text
MOST_DEPTH = 30  # of values in values: what lies deeper is left out
WIDTH = 100
FIRST = 5  # examples of a long list
_DIGEST = re.compile("[0-9a-f]{40,}")
_WORDS = {"frame_rate": "frame length", "window": "scoring window"}
_SECONDS = ("seconds", "window", "min_duration", "merge_gap")
_COLUMNS = {"window": "median (s)"}  # of decoding settings, a filter


@dataclass(frozen=True)
class Description:
    """What an artifact is."""

    path: Path
    kind: str  # "features", "model", "strong labels", …
    values: Mapping[str, Any]  # as JSON has them: scalars, lists, mappings, lists of mappings
    verified: bool | None = None  # whether its digests were checked; None: it carries none
    problems: tuple[SedtoolError, ...] = ()  # what is wrong with its members, if it is a folder
    said: Mapping[str, Any] | None = None  # what its text has instead of the values

    def to_json(self) -> dict[str, Any]:
        """Return everything; what is undefined, or no finite number, is None."""
        described = {"path": str(self.path), "kind": self.kind, **self.values}
        described |= {"verified": self.verified, "problems": list(map(str, self.problems))}
        return dict(_finite(described))

    def text(self) -> str:
        """Return aligned ``key: value`` lines and small tables, without control characters.

        What is not there has no line, and digests come last.
        """
        verified = {True: "yes", False: "no (--verify checks it all)", None: "it has no digest"}
        given = [item for item in (self.said or self.values).items() if item[1] is not None]
        given = [*given[:MOST_KEYS], ("verified", verified[self.verified])]
        given.sort(key=lambda item: "sha256" in item[0])
        values = {
            _in_words(_WORDS.get(key, key)).replace("_", " "): _with_unit(key, value)
            for key, value in given
        }
        width = max(len(key) for key in values) + 2
        indent = " " * width
        wrapper = textwrap.TextWrapper(
            WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        lines = [plain(f"{self.path}: {self.kind}")]
        for key, value in values.items():
            label = f"{key}:".ljust(width)
            if value and isinstance(value, list) and all(isinstance(r, Mapping) for r in value):
                lines += [label + str(len(value)), *_table(value)]
            else:
                lines += wrapper.wrap(label + _in_words(_finite(value)))
        return "".join(line + "\n" for line in lines)


def first_of(items: Sequence[str]) -> dict[str, Any]:
    """Return how many there are, and the first of them."""
    return {"count": len(items), "first": list(items[:FIRST])}


def _finite(value: Any, depth: int = 0) -> Any:
    """Return a value that JSON can hold: strings as keys, None for NaN and infinity."""
    if depth > MOST_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _finite(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _with_unit(key: str, value: Any) -> Any:
    if key == "frame_rate" and type(value) is float:
        return f"{1000 / value:.4g} ms ({value:g} a second)"
    return f"{value:g} s" if key in _SECONDS and type(value) is float else value


def _table(rows: list[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table; columns in which nothing is defined are left out."""
    columns = [key for key in rows[0] if any(row.get(key) is not None for row in rows)]
    shown = rows[:MOST_ROWS] if len(rows) > MOST_ROWS + 1 else rows
    heads = [_COLUMNS.get(key, key).replace("_", " ") for key in columns]
    cells = [heads, *([_in_words(row.get(key)) for key in columns] for row in shown)]
    n_left = sum(1 for _ in takewhile(lambda key: isinstance(rows[0].get(key), str), columns))
    lines = [f"  {line}" for line in aligned(cells, n_left)]
    if len(shown) < len(rows):
        lines.append(f"  … and {len(rows) - len(shown)} more (--json has all)")
    return lines


def _in_words(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, Mapping):
        if set(value) == {"count", "first"}:
            examples = "; ".join(map(_in_words, value["first"]))
            return f"{value['count']}: {examples}" if value["count"] else "0"
        text = ", ".join(f"{key} {_nested(item)}" for key, item in value.items()) or "none"
        return _cut(plain(text), 3 * MOST_TEXT)
    if isinstance(value, list | tuple):
        text = ", ".join(map(_nested, value[:MOST_ITEMS])) or "none"
        return text + (f", … ({len(value)})" if len(value) > MOST_ITEMS else "")
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".") if 1e-3 <= abs(value) < 1e15 else f"{value:g}"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return _cut(plain(text), MOST_TEXT)


def _nested(value: Any) -> str:
    """Return a value inside another: lists and mappings in brackets, the start of a digest."""
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return f"{value[:8]}…"
    return f"({_in_words(value)})" if isinstance(value, list | Mapping) else _in_words(value)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
