"""Lines, cells and numbers of label files: taken as they stand, or refused with file and line."""

import codecs
import math
from collections.abc import Iterator
from pathlib import Path

from sedtool.errors import LabelError
from sedtool.text import is_writable

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
LATEST = 1e9  # seconds, some 30 years: no recording has later times


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte-order mark; line ends are as they are."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabelError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        hint = "; save it as UTF-8, not UTF-16" if data.startswith(_UTF_16_MARKS) else ""
        raise LabelError(f"{path}:{line}: not UTF-8 text (byte {error.start}){hint}") from None


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (``file:line``, text without its line end) of a UTF-8 file."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        where = f"{path}:{number}"
        yield where, clean_line(line, where)


def table_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (``file:line``, cells) of a tab-separated file, empty lines left out."""
    for where, line in numbered_lines(path):
        if line.strip():
            yield where, split_cells(line)


def clean_line(line: str, where: str) -> str:
    """Return a line without a carriage return at its end; refuse control characters."""
    line = line.removesuffix("\r")
    if not is_writable(line.replace("\t", " ")):
        raise LabelError(f"{where}: a control character stands in the line")
    return line


def split_cells(line: str) -> list[str]:
    """Return the cells of a line that is separated by tabs, without spaces around them."""
    return [cell.strip(" ") for cell in line.split("\t")]


def named_cells(header: list[str], cells: list[str], where: str) -> dict[str, str]:
    """Return the cells of a row by column; those missing at its end are empty.

    Raises
    ------
    LabelError
        If there are more cells than columns.
    """
    if len(cells) > len(header):
        raise LabelError(f"{where}: {len(cells)} columns where {len(header)} are expected")
    padding = [""] * (len(header) - len(cells))  # trailing tabs of empty cells get lost
    return dict(zip(header, cells + padding, strict=True))


def parse_number(text: str, where: str) -> float:
    """Return the finite number that `text` is, or raise a LabelError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text or not text.isascii():  # Python reads 1_0 as 10
        raise LabelError(f"{where}: {text!r} is not a number")
    return value


def parse_seconds(text: str, where: str) -> float:
    """Return the time that `text` is, in seconds from 0 up, or raise a LabelError."""
    value = parse_number(text, where)
    if value < 0:
        raise LabelError(f"{where}: time {text} is negative")
    if value > LATEST:
        raise LabelError(f"{where}: time {text} is beyond {LATEST:g} s; times are in seconds")
    return abs(value)  # -0 is 0


def parse_interval(onset: str, offset: str, where: str) -> tuple[float, float]:
    """Return onset and offset in seconds, or raise a LabelError."""
    start, end = parse_seconds(onset, where), parse_seconds(offset, where)
    if end < start:
        raise LabelError(f"{where}: offset {end:g} is before onset {start:g}")
    return start, end


def format_times(onset: float, offset: float, decimals: int) -> tuple[str, str]:
    """Return times as text; rounding never takes the length from an event that has one."""
    step = 10.0**-decimals
    first, last = f"{onset:.{decimals}f}", f"{offset:.{decimals}f}"
    if first == last and offset > onset:  # keep the end: it is the clip's at most
        if float(last) == 0:
            return first, f"{step:.{decimals}f}"
        first = f"{float(last) - step:.{decimals}f}"
    return first, last


def check_cell(text: str) -> str:
    """Return `text` if a table can carry it unchanged.

    Raises
    ------
    LabelError
        If it is empty, begins or ends with a space, holds a tab, a line end or another control
        character, or is not UTF-8.
    """
    if not text or text != text.strip():
        raise LabelError(
            f"{text!r} is empty, or begins or ends with a space: a table would lose it"
        )
    if not is_writable(text):
        raise LabelError(f"{text!a} holds a character that a table cannot carry")
    return text
