"""Text as it is shown and written: columns, short lists, suggestions, escapes, digests."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from unicodedata import category

_LONGEST_LINE = 2000  # characters of a message
_ENDLESS = re.compile(r"\S{301,}")

# Control characters, line and paragraph separators, and surrogates, which UTF-8 does not have.
_UNWRITABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def is_writable(text: str) -> bool:
    """Return whether no character of a text acts on a terminal, ends a line, or is not UTF-8."""
    return text.isprintable() or not any(category(c) in _UNWRITABLE for c in text)


def plain(text: str) -> str:
    """Return a text on one line without control characters: names come from strangers."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def bounded(line: str) -> str:
    """Return a line of a message without what is endless in it; the full length is said.

    Words of more than 300 characters, which no path and no label needs to be recognised, are cut to
    their first 60, and what is longer than 2000 characters then loses its middle.
    """
    line = _ENDLESS.sub(lambda word: f"{word[0][:60]}… ({len(word[0])} characters)", line)
    if len(line) > _LONGEST_LINE:
        half = _LONGEST_LINE // 2 - 20
        line = f"{line[:half]} … ({len(line)} characters) … {line[-half:]}"
    return line


def brief(error: Exception) -> str:
    """Return what an error of a library says, on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


def real_time(audio_seconds: float, seconds: float) -> str:
    """Return ``"2400 s of audio in 1.4 s (1714 times real time)"``."""
    speed = audio_seconds / seconds if seconds else 0.0
    return f"{audio_seconds:.0f} s of audio in {seconds:.1f} s ({speed:.0f} times real time)"


def clock(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def counted(number: int, what: str) -> str:
    """Return ``1 run`` or ``2 runs``."""
    return f"{number} {what}{'s' * (number != 1)}"


def aligned(rows: Sequence[Sequence[str]], n_left: int) -> list[str]:
    """Lay rows out in columns: the first `n_left` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < n_left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def markdown_table(rows: Sequence[Sequence[str]], n_left: int) -> list[str]:
    """Return the lines of a table whose first row is its header; cells are as they are shown."""
    header, *others = rows
    rule = ["---" if place < n_left else "---:" for place in range(len(header))]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *others)]


def booktabs(columns: str, *blocks: Sequence[str]) -> list[str]:
    """Return the lines of a LaTeX table of blocks of rows, the first of which is the header."""
    first, *others = (block for block in blocks if block)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *first]
    for block in others:
        lines += [r"\midrule", *block]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def latex_row(cells: Iterable[str]) -> str:
    """Return a row of a LaTeX table."""
    return " & ".join(cells) + r" \\"


def latex(text: str) -> str:
    """Return a text that LaTeX shows as it is."""
    return "".join(_LATEX.get(character, character) for character in text)


def first_five(items: Iterable[str]) -> str:
    """Return the first five items with commas between them, and whether there are more."""
    listed = list(items)
    return ", ".join(listed[:5]) + ", …" * (len(listed) > 5)


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that was probably meant by another one; None if none is alike."""
    return next(iter(get_close_matches(name, list(valid), n=1)), None)


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'NEAREST'?``, to end a message with; nothing if none is alike."""
    near = nearest(name, valid)
    return f"; did you mean {near!r}?" if near is not None else ""


def strict_json(text: str | bytes) -> Any:
    """Read JSON; what readers disagree on, such as NaN or a repeated key, is a ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key stands twice")
    return table


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
