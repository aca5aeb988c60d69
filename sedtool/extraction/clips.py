"""One audio file -> its features, in a temporary file."""

import tempfile
import threading
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from sedtool.atomic import resource_errors
from sedtool.audio import AudioReader, stamp
from sedtool.config import FeatureConfig
from sedtool.errors import AudioError
from sedtool.features import Engine, log_mel_blocks
from sedtool.store import SourceClip

__all__ = ["IN_MEMORY", "Work", "extract_clip"]

IN_MEMORY = 2**23  # bytes of a clip's features; longer clips wait on the disk


@dataclass(frozen=True)
class Work:
    """What a worker needs to know, and a flag that makes it stop."""

    config: FeatureConfig
    engine: Engine
    dtype: str  # of numpy
    allow_truncated: bool
    output: Path  # temporary files are made beside it
    stop: threading.Event = field(default_factory=threading.Event)

    def open(self, name: str, path: Path) -> AudioReader:
        """Return a reader of a clip."""
        return AudioReader(
            path,
            self.config.sample_rate,
            self.config.channel,
            name=name,
            allow_truncated=self.allow_truncated,
        )


def extract_clip(name: str, path: Path, work: Work) -> tuple[SourceClip, BinaryIO]:
    """Return what is known of a clip, and its features in a temporary file.

    Raises
    ------
    AudioError
        If it cannot be used. The message does not say where the file lay: the name says which it
        was, and an artifact need not tell more.
    """
    n_frames = 0
    with ExitStack() as closing:
        frames = cast(
            "BinaryIO",
            closing.enter_context(
                tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(work.output.parent))
            ),
        )
        try:
            _, modified = stamp(path)
            with work.open(name, path) as reader:
                for block in log_mel_blocks(reader, work.config, work.engine):
                    if work.stop.is_set():
                        raise CancelledError
                    stored = as_stored(block, work.dtype)
                    with resource_errors(work.output):
                        frames.write(stored)
                    n_frames += len(block)
                info = reader.info()
        except AudioError as error:
            raise AudioError(str(error).removeprefix(f"{path}: ")) from error
        frames.seek(0)
        closing.pop_all()
    clip = SourceClip(name, n_frames, **asdict(info), modified=modified, truncated=reader.truncated)
    return clip, frames


def as_stored(block: npt.NDArray[np.float32], dtype: str) -> bytes:
    """Return frames as bytes of the type they are stored in."""
    largest = np.finfo(dtype).max
    if not -largest <= block.min() <= block.max() <= largest:  # NaN fails every comparison
        raise AudioError("its features are not finite; check the floor of the logarithm")
    return block.astype(dtype).tobytes()
