"""Class lists, and the splitting of joined label fields."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from sedtool.bounds import MOST_CLASSES, MOST_LABEL
from sedtool.errors import LabelError
from sedtool.labels.cells import read_text
from sedtool.labels.dialect import Dialect
from sedtool.text import first_quoted, quoted, suggestion

_LIST_IN_CODE = re.compile(r"""[\[{(]\s*["'{]""")


class Vocabulary:
    """An ordered list of class names.

    Two of the seventeen classes of DCASE 2017 contain commas, so a field such as
    ``Train,Air horn, truck horn`` is matched against the list, longest name first.
    """

    def __init__(self, classes: Iterable[str], remedy: str = "") -> None:
        self.classes = tuple(classes)
        self._remedy = remedy  # what can be done about a label that is no class
        if not self.classes:
            raise LabelError("the class list is empty")
        if len(self.classes) > MOST_CLASSES:
            raise LabelError(f"{len(self.classes)} classes; {MOST_CLASSES} are the most")
        for label, count in Counter(self.classes).items():
            if count > 1:
                raise LabelError(f"the class list names {quoted(label)} {count} times")
            if label != label.strip() or not label:
                raise LabelError(
                    f"class name {quoted(label)} is empty or begins or ends with a space"
                )
            if len(label) > MOST_LABEL:
                raise LabelError(f"class name {quoted(label)} is longer than {MOST_LABEL}")
        self._index = {label: k for k, label in enumerate(self.classes)}
        n_parts = {1, *(label.count(",") + 1 for label in self.classes)}
        self.n_parts = sorted(n_parts, reverse=True)  # of names, between their commas

    def __len__(self) -> int:
        """Return the number of classes, K."""
        return len(self.classes)

    def __contains__(self, label: object) -> bool:
        """Return whether `label` is one of the classes."""
        return label in self._index

    def index(self, label: str) -> int:
        """Return the class number of `label`, or raise a LabelError with a suggestion."""
        if label not in self._index:
            raise LabelError(f"unknown label {quoted(label)}{self.suggestion(label)}")
        return self._index[label]

    def require(self, labels: Iterable[str], where: Path | str) -> None:
        """Raise a LabelError that says `where` for a label of no class; of a file also the line."""
        for label in labels:
            try:
                self.index(label)
            except LabelError as error:
                line = _line_of(label, where) if isinstance(where, Path) else ""
                raise LabelError(f"{where}{line}: {error}") from None

    def suggestion(self, label: str) -> str:
        """Return the class that an unknown label is nearest to, to end a message with."""
        remedy = f"; {self._remedy}" if self._remedy else ""
        return suggestion(label, self.classes) or (
            f"; the {len(self.classes)} classes are {first_quoted(self.classes)}{remedy}"
        )


def _line_of(label: str, path: Path) -> str:
    """Return ``:N`` for the first line that has the label in a cell; nothing if none has."""
    if not path.is_file():
        return ""  # a pipe cannot be read again
    with contextlib.suppress(LabelError):  # of a file that is no table, too
        for number, line in enumerate(read_text(path).split("\n"), 1):
            if label in line and label in _cells(line):
                return f":{number}"
    return ""


def _cells(line: str) -> Iterator[str]:
    """Yield the cells of a line, whatever separates them."""
    for mark in "\t,;":
        with contextlib.suppress(LabelError):
            yield from map(str.strip, Dialect(mark).cells(line, ""))


def split_labels(text: str, vocabulary: Vocabulary | None = None) -> tuple[str, ...]:
    """Return the labels that are joined by commas in `text`, each once, in order.

    With a vocabulary the longest class is taken, and what is no class is kept as it stands.
    Without one, a comma that a space follows is a LabelError: ``Air horn, truck horn`` may be one
    label or two. So is one beside which a label is missing. A list as programs write it, such as
    ``["Dog", "Cat"]``, is a LabelError, too.
    """
    if _LIST_IN_CODE.match(text):
        raise LabelError(f"{quoted(text)} is a list in code; join labels by commas, as in Dog,Cat")
    if vocabulary is None and ", " in text:
        raise LabelError(
            f"{quoted(text)} may be one label or several; give the class list (--classes)"
        )
    parts = text.split(",") if text.strip() else []
    lengths = [1] if vocabulary is None else vocabulary.n_parts  # in parts
    labels: dict[str, None] = {}
    first = 0
    while first < len(parts):
        for length in lengths:
            label = ",".join(parts[first : first + length]).strip()
            if length == 1 or (vocabulary is not None and label in vocabulary):
                break
        if not label:
            raise LabelError(f"a label is missing beside a comma of {quoted(text)}")
        labels[label] = None
        first += length
    return tuple(labels)
