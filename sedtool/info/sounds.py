"""Audio files, and folders of them."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sedtool.audio import AudioHeader, AudioReader, find_audio, read_header
from sedtool.errors import ArtifactError, AudioError, InputsFailedError, NothingUsableError
from sedtool.info.description import Description, first_of
from sedtool.labels import printable

__all__ = ["describe_audio", "describe_audio_folder"]


def describe_audio(path: Path, verify: bool) -> Description:
    """Describe an audio file; `verify` decodes it whole."""
    header = read_header(path)
    values: dict[str, Any] = {
        "format": header.format,
        "subtype": header.subtype,
        "sample_rate": header.sample_rate,
        "channels": header.channels,
        "seconds": header.duration,
        "bytes": header.size,
        "sha256": None,
    }
    if verify:
        with AudioReader(path, None) as reader:
            for _ in reader:
                pass
            info = reader.info()
        values |= {"seconds": info.duration, "sha256": info.sha256}
    return Description(path, "audio", values, verify)


def describe_audio_folder(
    path: Path, verify: bool, progress: Callable[[int, int, str], None] | None
) -> Description:
    """Describe a folder of audio; `verify` decodes every file."""
    try:
        files = find_audio([path])
    except NothingUsableError:
        raise ArtifactError(f"{path}: neither a run folder nor a folder with audio in it") from None
    headers: list[AudioHeader] = []
    seconds: list[float | None] = []
    failures: list[str] = []
    for done, (name, file) in enumerate(files.items(), 1):
        try:
            headers.append(read_header(file))
            seconds.append(_decoded_seconds(file) if verify else headers[-1].duration)
        except AudioError as error:
            failures.append(f"{printable(name)}: {str(error).removeprefix(f'{file}: ')}")
        if progress:
            progress(done, len(files), name)
    known = [duration for duration in seconds if duration is not None]
    values = {
        "files": len(files),
        "seconds": math.fsum(known),
        "unknown_length": len(seconds) - len(known),
        "bytes": sum(header.size for header in headers),
        "formats": _counts([f"{header.format} {header.subtype}" for header in headers]),
        "sample_rates": _counts([header.sample_rate for header in headers]),
        "channels": _counts([header.channels for header in headers]),
        "failures": first_of(failures),
    }
    problems = [
        InputsFailedError(
            f"{path}: {len(failures)} of {len(files)} files cannot be used (the first, {first}); "
            "`sedtool check` names them all"
        )
        for first in failures[:1]
    ]
    return Description(path, "audio folder", values, verify, tuple(problems))


def _decoded_seconds(path: Path) -> float:
    with AudioReader(path, None) as reader:
        for _ in reader:
            pass
        return reader.duration


def _counts(values: list[Any]) -> dict[str, int]:
    """Return how often each value occurs, the most frequent first."""
    return {str(value): count for value, count in Counter(values).most_common()}
