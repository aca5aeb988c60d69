"""What libsndfile does not read, decoded by PyAV, where that is installed."""

from importlib.util import find_spec


def has_av() -> bool:
    """Return whether PyAV is installed; it is not imported for that."""
    return find_spec("av") is not None


def without_av(them: str = "it") -> str:
    """Return what to do with audio that cannot be read without it."""
    return f"pip install 'sedtool[av]' to read {them}, or convert {them} to FLAC, e.g. with ffmpeg"
