"""Class lists, and the splitting of joined label fields."""

import contextlib
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from sedtool.errors import LabelError

__all__ = ["Vocabulary"]


class Vocabulary:
    """An ordered list of class names, and the only code that splits a joined label field.

    Two of the seventeen classes of DCASE 2017 contain commas, so a field such as
    ``Train,Air horn, truck horn`` is matched against the list, longest name first.
    """

    def __init__(self, classes: Iterable[str]) -> None:
        self.classes = tuple(classes)
        if not self.classes:
            raise LabelError("the class list is empty")
        for label, count in Counter(self.classes).items():
            if count > 1:
                raise LabelError(f"the class list names {label!r} {count} times")
            if label != label.strip() or not label:
                raise LabelError(f"class name {label!r} is empty or begins or ends with a space")
        self._index = {label: k for k, label in enumerate(self.classes)}
        self._longest_first = sorted(self.classes, key=len, reverse=True)

    def __len__(self) -> int:
        """Return the number of classes, K."""
        return len(self.classes)

    def __contains__(self, label: object) -> bool:
        """Return whether `label` is one of the classes."""
        return label in self._index

    def index(self, label: str) -> int:
        """Return the class number of `label`, or raise a LabelError with a suggestion."""
        if label not in self._index:
            raise LabelError(f"unknown label {label!r}{self._suggestion(label)}")
        return self._index[label]

    def require(self, labels: Iterable[str], where: Path) -> None:
        """Raise a LabelError that names the file `where`, and the line, for a label of no class."""
        for label in labels:
            try:
                self.index(label)
            except LabelError as error:
                raise LabelError(f"{where}{_line_of(label, where)}: {error}") from None

    def split(self, text: str) -> tuple[str, ...]:
        """Return the labels that are joined by commas in `text`, each once, in order."""
        labels: list[str] = []
        rest = text.strip()
        while rest:
            label = next((c for c in self._longest_first if _starts_with_label(rest, c)), None)
            if label is None:
                unknown = rest.split(",")[0].strip()
                raise LabelError(f"unknown label {unknown!r}{self._suggestion(unknown)}")
            labels.append(label)
            rest = rest[len(label) :].lstrip()
            if rest:
                rest = rest[1:].lstrip()  # the comma
                if not rest:
                    raise LabelError(f"a label is missing after the last comma of {text!r}")
        return tuple(dict.fromkeys(labels))

    def _suggestion(self, label: str) -> str:
        close = get_close_matches(label, self.classes, n=1)
        if close:
            return f"; did you mean {close[0]!r}?"
        first = ", ".join(map(repr, self.classes[:5])) + ", …" * (len(self.classes) > 5)
        return f"; the {len(self.classes)} classes are {first}; --classes gives another list"


def _line_of(label: str, path: Path) -> str:
    """Return ``:N`` for the first line that has the label in a cell; nothing if none has."""
    wanted = label.encode()
    with contextlib.suppress(OSError):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if wanted in (cell.strip() for cell in line.split(b"\t")):
                return f":{number}"
    return ""


def _starts_with_label(text: str, label: str) -> bool:
    rest = text[len(label) :].lstrip()
    return text.startswith(label) and (not rest or rest.startswith(","))
