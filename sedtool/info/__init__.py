"""Any artifact -> what it says of itself: for people as text, for programs as JSON.

Kinds are told by content, not by name. Without `verify` tables and headers are read, so that a file
of 50 GB takes no longer than a small one; with it every digest is checked, and audio is decoded.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from sedtool.atomic import is_unfinished
from sedtool.audio import AUDIO_SUFFIXES
from sedtool.audio.find import suggestion
from sedtool.errors import ArtifactError, ConfigError, SedtoolError
from sedtool.info.artifacts import (
    Progress,
    describe_audio,
    describe_audio_folder,
    describe_features,
    describe_model,
    describe_run,
    describe_scores,
    describe_state,
    describe_sweep,
    describe_unfinished,
)
from sedtool.info.description import Description
from sedtool.info.texts import describe_json, describe_labels, describe_recipe
from sedtool.labels.signatures import decode_head, read_head, signature
from sedtool.runs import SweepFolder, is_run_folder
from sedtool.store import file_format, is_hdf5
from sedtool.text import quoted

__all__ = ["Description", "describe", "describe_all"]

_AUDIO_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"riff", b"fLaC", b"OggS", b".snd", b"caff")
_STORED = {"sedtool-features": describe_features, "sedtool-scores": describe_scores}


def describe(path: Path, verify: bool = False, progress: Progress | None = None) -> Description:
    """Return what the file or folder at `path` is.

    An output that is not there yet, but was begun, is described too. `progress` is called after
    each file of a folder of audio, and each run of a sweep.

    Raises
    ------
    ConfigError
        If nothing is there.
    ArtifactError, AudioError, LabelError
        If it is damaged, or of no known kind.
    """
    path = Path(path)
    try:
        is_file = path.exists() and not path.is_dir()
        if (is_unfinished(path) or not is_file) and (unfinished := describe_unfinished(path)):
            return unfinished
        if is_file:
            return _find(path)(path, verify)
        if not path.exists():
            raise _missing(path)
        if SweepFolder(path).record.is_file():
            return describe_sweep(path, verify, progress)
        if is_run_folder(path):
            return describe_run(path, verify)
        return describe_audio_folder(path, verify, progress)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror or error})") from error


def describe_all(
    paths: Sequence[Path], verify: bool = False, progress: Progress | None = None
) -> tuple[list[Description], list[SedtoolError]]:
    """Describe what can be described; also return what is wrong, with these and with the others."""
    described: list[Description] = []
    problems: list[SedtoolError] = []
    for path in paths:
        try:
            described.append(describe(path, verify, progress))
            problems += described[-1].problems
        except SedtoolError as error:
            problems.append(error)
    return described, problems


def _find(path: Path) -> Callable[[Path, bool], Description]:
    """Return what describes a file, by its first bytes and, for text, its suffix."""
    if not path.is_file():  # opening a FIFO would never return
        raise ArtifactError(f"{path}: not a regular file")
    if is_hdf5(path):
        found = file_format(path)
        if found in _STORED:
            return _STORED[found]
        raise ArtifactError(
            f"{path}: an HDF5 file of another program (its format is {quoted(found)})"
        )
    with path.open("rb") as stream:
        head = stream.read(16)
    suffix = path.suffix.lower()
    if suffix in AUDIO_SUFFIXES or head.startswith(_AUDIO_MAGIC):
        return describe_audio
    if suffix == ".pt":
        return describe_state
    if suffix == ".safetensors" or head[8:10] == b'{"':
        return describe_model
    if suffix in (".yaml", ".yml"):
        return describe_recipe
    return _find_text(path, head)


def _find_text(path: Path, head: bytes) -> Callable[[Path, bool], Description]:
    told = signature(decode_head(read_head(path)), path)
    is_table = path.suffix.lower() in (".tsv", ".csv", ".txt", ".jsonl")
    if is_table or (told is not None and told.name == "jams"):
        return describe_labels
    if head.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"{"):
        return describe_json
    if told is not None:
        raise ArtifactError(f"{path}: this is {told.what}; {told.remedy}")
    raise ArtifactError(
        f"{path}: of no known kind; known are audio files and folders of them, labels, features, "
        "scores, models, run folders, folders of sweeps, training states, recipes, metrics and "
        "part records"
    )


def _missing(path: Path) -> ConfigError:
    """Return the error that nothing is there, which says what else could have been meant."""
    if path.is_symlink():
        return ConfigError(f"{path} is a link to {path.readlink()}, which does not exist")
    return ConfigError(f"{path} does not exist{suggestion(path)}")
