"""paper.tsv: the numbers that a paper reports for its poolings."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from sedtool.comparison.runs import Column
from sedtool.config import PoolingConfig
from sedtool.errors import ConfigError, LabelError

__all__ = ["PAPER_COLUMNS", "read_paper"]

PAPER_COLUMNS: dict[str, Column] = {
    "event_f1": ("event", "f1"),
    "event_precision": ("event", "precision"),
    "event_recall": ("event", "recall"),
    "segment_f1": ("segment", "f1"),
    "segment_precision": ("segment", "precision"),
    "segment_recall": ("segment", "recall"),
    "clip_f1": ("clip", "f1"),
}
_MOST_BYTES = 1_000_000


def read_paper(path: Path) -> dict[str, Mapping[Column, float]]:
    """Read published numbers: a column ``pooling`` and some of `PAPER_COLUMNS`, as fractions.

    Returns
    -------
    dict
        Numbers by column of each pooling, which is written as `str(PoolingConfig)` does; those
        that are not stated are left out.

    Raises
    ------
    LabelError
        With file and line.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise LabelError(f"{path} is too large for a table of a paper")
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{path} cannot be read ({error})") from None
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = list(rows.fieldnames or [])
    unknown = [name for name in columns if name not in ("pooling", *PAPER_COLUMNS)]
    if "pooling" not in columns or unknown or len(set(columns)) < len(columns):
        raise LabelError(f"{path}: its columns must be pooling, {', '.join(PAPER_COLUMNS)}")
    found: dict[str, Mapping[Column, float]] = {}
    for row in rows:
        where = f"{path}:{rows.line_num}"
        if None in row or None in row.values():
            raise LabelError(f"{where}: {len(columns)} columns are needed")
        try:
            pooling = str(PoolingConfig.parse(row["pooling"].strip()))
        except ConfigError as error:
            raise LabelError(f"{where}: {error}") from None
        if pooling in found:
            raise LabelError(f"{where}: {pooling} is given twice")
        texts = {PAPER_COLUMNS[k]: v.strip() for k, v in row.items() if k != "pooling"}
        found[pooling] = {k: _fraction(v, where) for k, v in texts.items() if v}
    return found


def _fraction(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise LabelError(f"{where}: {text!r} is no number from 0 to 1")
    return value
