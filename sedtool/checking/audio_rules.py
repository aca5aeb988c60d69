"""What can be wrong with the audio by itself."""

from collections import Counter
from collections.abc import Collection, Iterator
from statistics import median

from sedtool.checking.clips import Clip
from sedtool.checking.report import AudioSummary, Finding, found
from sedtool.config import FeatureConfig

__all__ = ["check_audio", "summarise_audio"]

SHORTEST = FeatureConfig.win_length / FeatureConfig.sample_rate  # seconds, one analysis window
LONG = 10  # times the median


def check_audio(clips: Collection[Clip]) -> list[Finding]:
    """Check the clips one by one and against each other."""
    known = [(c.name, c.duration) for c in clips if c.duration is not None]
    typical = median([duration for _, duration in known]) if known else 0.0
    short = (f"{name}: {d:.3f} s, a window is {SHORTEST:g} s" for name, d in known if d < SHORTEST)
    long = (
        f"{name}: {d:.3f} s, the median is {typical:.3f} s"
        for name, d in known
        if d > LONG * typical
    )
    unknown = (clip.name for clip in clips if clip.duration is None and not clip.error)
    silent = (
        f"{clip.name}: {f'all samples are {clip.constant:g}' if clip.constant else 'silent'}"
        for clip in clips
        if clip.constant is not None
    )
    return [
        *found("unreadable-audio", "audio", (f"{c.name}: {c.error}" for c in clips if c.error)),
        *found("short-clip", "audio", short),
        *found("long-clip", "audio", long),
        *found("silent", "audio", silent),
        *found("unknown-duration", "audio", unknown),
        *_mixed_formats(clips),
    ]


def _mixed_formats(clips: Collection[Clip]) -> list[Finding]:
    formats = _formats(clips)
    if len(formats) < 2:
        return []
    usual = next(iter(formats))

    def others() -> Iterator[str]:
        for clip in clips:
            if clip.sample_rate and _format(clip) != usual:
                yield f"{clip.name}: {_format(clip)}; most have {usual}"

    return found("mixed-formats", "audio", others())


def _formats(clips: Collection[Clip]) -> dict[str, int]:
    """Return how many clips have each format, the most frequent first."""
    return dict(Counter(_format(clip) for clip in clips if clip.sample_rate).most_common())


def _format(clip: Clip) -> str:
    return f"{clip.sample_rate} Hz, {clip.channels} channel{'s' * (clip.channels != 1)}"


def summarise_audio(clips: Collection[Clip], decoded: bool) -> AudioSummary:
    """Count and measure the clips."""
    durations = [clip.duration for clip in clips if clip.duration is not None]
    return AudioSummary(
        clips=len(clips),
        unreadable=sum(clip.error is not None for clip in clips),
        decoded=decoded,
        total=sum(durations),
        min=min(durations, default=None),
        median=median(durations) if durations else None,
        max=max(durations, default=None),
        formats=_formats(clips),
    )
