"""Text as it is shown and written: which characters it may hold, escapes."""

from unicodedata import category

__all__ = ["is_writable", "plain", "real_time"]

# Control characters, line and paragraph separators, and surrogates, which UTF-8 does not have.
_UNWRITABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))


def is_writable(text: str) -> bool:
    """Return whether no character of a text acts on a terminal, ends a line, or is not UTF-8."""
    return text.isprintable() or not any(category(c) in _UNWRITABLE for c in text)


def plain(text: str) -> str:
    """Return a text on one line without control characters: names come from strangers."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def real_time(audio_seconds: float, seconds: float) -> str:
    """Return ``"2400 s of audio in 1.4 s (1714 times real time)"``."""
    speed = audio_seconds / seconds if seconds else 0.0
    return f"{audio_seconds:.0f} s of audio in {seconds:.1f} s ({speed:.0f} times real time)"
