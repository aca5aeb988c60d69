"""A label file as `sedtool.labels` reads it: its rows, and what is wrong with the others."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sedtool.labels import Vocabulary
from sedtool.labels.tables import Fault, Row, read_rows

__all__ = ["LabelFile", "read_label_file"]


@dataclass
class LabelFile:
    """The rows of a label file, and the faults of those that cannot be read."""

    path: Path
    kind: str  # "strong", "weak" or "unlabelled"
    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Return the number of rows, those that cannot be read included."""
        return len(self.rows) + sum(fault.kind != "file" for fault in self.faults)

    def at(self, row: Row) -> str:
        """Return ``file:line`` of a row."""
        return f"{self.path}:{row.line}"

    def first_rows(self) -> dict[str, Row]:
        """Return the first row of each clip name, in order."""
        first: dict[str, Row] = {}
        for row in self.rows:
            first.setdefault(row.name, row)
        return first

    def events(self) -> Iterator[Row]:
        """Yield the rows of a strong file that are events."""
        return (row for row in self.rows if row.labels and self.kind == "strong")

    def heard(self) -> dict[str, set[str]]:
        """Return the labels of each clip name; zero-length events say nothing was heard."""
        heard: dict[str, set[str]] = {}
        for row in self.rows:
            counts = self.kind != "strong" or row.offset > row.onset
            heard.setdefault(row.name, set()).update(row.labels if counts else ())
        return heard


def read_label_file(path: Path, kind: str, vocabulary: Vocabulary | None = None) -> LabelFile:
    """Read a label file; labels that are no class are kept."""
    file = LabelFile(path, kind)
    for item in read_rows(path, kind, vocabulary):
        if isinstance(item, Fault):
            file.faults.append(item)
        else:
            file.rows.append(item)
    return file
