"""Text as it is shown and written: columns, short lists, suggestions, escapes, digests."""

import hashlib
import heapq
import json
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

_LONGEST_LINE = 2000  # characters of a message
_LONGEST_QUOTE = 60  # of what a message repeats
_MOST_COMPARED, _LONGEST_COMPARED = 500, 100  # names, characters; to find what was meant
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
    line = _ENDLESS.sub(lambda word: cut(word[0]), line)
    if len(line) > _LONGEST_LINE:
        half = _LONGEST_LINE // 2 - 20
        line = f"{line[:half]} … ({len(line)} characters) … {line[-half:]}"
    return line


def quoted(value: object) -> str:
    """Return the repr of what somebody wrote: of a long text its first 60 characters and length.

    Names of clips and files stand in messages whole, if `bounded` does not find them endless.
    """
    if isinstance(value, str) and len(value) > _LONGEST_QUOTE:
        return f"{value[:_LONGEST_QUOTE] + '…'!r} ({len(value)} characters)"
    return repr(value) if isinstance(value, str) else reprlib.repr(value)[:_LONGEST_QUOTE]


def cut(text: str) -> str:
    """Return a text, or the beginning and the length of a long one."""
    if len(text) <= _LONGEST_QUOTE:
        return text
    return f"{text[:_LONGEST_QUOTE]}… ({len(text)} characters)"


def brief(error: BaseException) -> str:
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
    """Return the first five items with commas between them, and how many more there are."""
    listed = items if isinstance(items, list) else list(items)  # of names that mean a million clips
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more


def first_quoted(items: Iterable[str]) -> str:
    """Return the first five items as `quoted` has them, and how many more there are."""
    listed = list(items)
    return first_five([*map(quoted, listed[:5]), *listed[5:]]) or "none"


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the valid name that was probably meant by another one; None if none is alike.

    Only so many are compared as take a second: of more, those that begin alike, by their length.
    """
    name = composed(name)
    if len(name) > _LONGEST_COMPARED:
        return None
    forms = {composed(other): other for other in valid}
    if name in forms:
        return forms[name]
    ratio = cutoff / (2 - cutoff)  # of the lengths of names that are alike
    among = [form for form in forms if ratio <= len(name) / (len(form) or 1) <= 1 / ratio]
    if len(among) > _MOST_COMPARED:
        among = [form for form in among if form[:1] == name[:1]]
        among = heapq.nsmallest(_MOST_COMPARED, among, lambda form: abs(len(form) - len(name)))
    return next((forms[form] for form in get_close_matches(name, among, 1, cutoff)), None)


def composed(name: str) -> str:
    """Return a text with accents in their letters (Unicode NFC); macOS has them apart."""
    return normalize("NFC", name)


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'NEAREST'?``, to end a message with; nothing if none is alike."""
    near = nearest(name, valid)
    return "" if near is None else f"; {did_you_mean(name, near)}"


def did_you_mean(name: str, near: str) -> str:
    """Return a question about a name; two that only look the same are said to."""
    form = ", in another Unicode form" * (composed(name) == composed(near))
    return f"did you mean {quoted(near)}{form}?"


def in_other_form(path: str | Path, exists: Callable[[str], bool] = os.path.lexists) -> str:
    """Return ``; did you mean PATH, …?`` of a path that is there, but for its Unicode form."""
    forms = (normalize(form, str(path)) for form in ("NFC", "NFD"))
    there = next((form for form in forms if form != str(path) and exists(form)), None)
    return f"; did you mean {there}, in another Unicode form?" if there is not None else ""


def first_unlike(there: bytes, here: bytes) -> str:
    """Say where a text that is there is another one than this; nothing of what is no text."""
    if b"\0" in here:
        return ""
    pairs = zip_longest(there.splitlines(), here.splitlines(), fillvalue=b"")
    unlike = next(pair for pair in pairs if pair[0] != pair[1])
    old, new = (quoted(line.decode(errors="replace").strip()) for line in unlike)
    return f"it has {old} where there would be {new}"


def strict_json(text: str | bytes, parse_float: Callable[[str], Any] | None = None) -> Any:
    """Read JSON; what readers disagree on, such as NaN or a repeated key, is a ValueError."""
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=parse_float
        )
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
    """Return the sha256 of a file's bytes; nothing of a pipe, which can be read once only."""
    if path.is_fifo():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
