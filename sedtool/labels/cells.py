"""The text of a table: its lines, cells and numbers, and the texts that a table can carry."""

import codecs
import logging
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

from sedtool.bounds import read_table
from sedtool.errors import LabelError
from sedtool.file_kinds import HEAD_SIZE, file_kind, kind_of_file
from sedtool.text import is_writable, quoted

log = logging.getLogger(__name__)

LATEST = 1e9  # seconds, some 30 years: no recording has later times
QUOTED = re.compile(r'"(?:[^"]|"")*"')  # a cell that stands in quotes as a whole
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, or of UTF-16 with a byte-order mark; that is left out."""
    try:
        data = read_table(path)
    except OSError as error:
        kind = kind_of_file(path)  # a file of numbers may have a line without end
        what = f"; {kind}" if kind and kind.what != "text" else ""
        raise LabelError(f"{path}: cannot be read ({error.strerror}{what})") from None
    return decode_text(data, path)


def decode_text(data: bytes, path: Path) -> str:
    """Return the text that the bytes of a file are, as `read_text` does."""
    is_utf_16 = data.startswith(_UTF_16_MARKS) and not data.startswith(codecs.BOM_UTF32_LE)
    if is_utf_16:
        say_how(path, "as UTF-16")
    try:
        return data.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        kind = file_kind(data[:HEAD_SIZE], path.name)
        if is_utf_16:
            what = "UTF-16 text that is cut off or broken"
        elif kind is not None:
            raise LabelError(f"{path}: not UTF-8 text: {kind}") from None
        else:
            form = "" if b"\0" in data else "; it may be Windows-1252 or Latin-1"
            what = f"not UTF-8 text (byte {error.start}){form}"
        raise LabelError(f"{path}:{line}: {what}; save it as UTF-8 text") from None


@lru_cache(1000)
def say_how(path: Path, how: str) -> None:
    """Log how a table is read that is not written as usual; once, though stages read it again."""
    log.warning("%s: read %s", path, how)


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (``file:line``, text) of the lines of a UTF-8 file, blank ones left out."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        where = f"{path}:{number}"
        line = clean_line(line, where)
        if line.strip():
            yield where, line


def table_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (``file:line``, cells) of a tab-separated file, blank lines left out."""
    return ((where, split_cells(line)) for where, line in numbered_lines(path))


def clean_line(line: str, where: str) -> str:
    """Return a line without the carriage return at its end; refuse control characters."""
    line = line.removesuffix("\r")
    if not is_writable(line.replace("\t", " ")):
        raise LabelError(f"{where}: a control character stands in the line")
    return line


def split_cells(line: str) -> list[str]:
    """Return the cells of a line that is separated by tabs, without spaces around them."""
    return [cell.strip(" ") for cell in line.split("\t")]


def unquoted(cell: str) -> str:
    """Return a cell without the quotes that CSV puts around it as a whole."""
    return cell[1:-1].replace('""', '"') if QUOTED.fullmatch(cell) else cell


def quoted_cell(text: str) -> str:
    """Return `check_cell` of a text, in quotes if it begins with one of its own."""
    return '"' + text.replace('"', '""') + '"' if check_cell(text).startswith('"') else text


def named_cells(header: list[str], cells: list[str], where: str) -> dict[str, str]:
    """Return the cells of a row by column; those missing at its end are empty.

    Trailing tabs of empty cells get lost, but more cells than columns are a LabelError.
    """
    if len(cells) > len(header):
        raise LabelError(f"{where}: {len(cells)} columns where {len(header)} are expected")
    return dict(zip_longest(header, cells, fillvalue=""))


def parse_number(text: str, where: str) -> float:
    """Return the finite number that `text` is, or raise a LabelError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text or not text.isascii():  # Python reads 1_0 as 10
        hint = "; write numbers with a point, and not with a comma" if "," in text else ""
        raise LabelError(f"{where}: {quoted(text)} is not a number{hint}")
    return value


def is_number(text: str) -> bool:
    """Return whether `parse_number` reads a text."""
    try:
        parse_number(text, "")
    except LabelError:
        return False
    return True


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


def parse_span(onset: str, duration: str, where: str) -> tuple[float, float]:
    """Return onset and offset in seconds; they are added in decimals, so that 0.2 + 0.7 is 0.9."""
    start, length = parse_seconds(onset, where), parse_seconds(duration, where)
    return start, float(Decimal(repr(start)) + (Decimal(duration) if length else 0))


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
    """Return a text, or raise a LabelError if a table could not carry it unchanged."""
    if not text or text != text.strip():
        raise LabelError(
            f"{quoted(text)} is empty, or begins or ends with a space: a table would lose it"
        )
    if not is_writable(text):
        raise LabelError(f"{text!a} holds a character that a table cannot carry")
    return text
