"""Text as it is shown and written: which characters it may hold."""

from unicodedata import category

__all__ = ["is_writable"]

# Control characters, line and paragraph separators, and surrogates, which UTF-8 does not have.
_UNWRITABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))


def is_writable(text: str) -> bool:
    """Return whether no character of a text acts on a terminal, ends a line, or is not UTF-8."""
    return text.isprintable() or not any(category(c) in _UNWRITABLE for c in text)
