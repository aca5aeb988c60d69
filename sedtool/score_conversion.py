"""`convert`: a scores file -> a folder of score files, a TSV a clip, for sed_scores_eval."""

from collections.abc import Sequence
from pathlib import Path

from sedtool.atomic import claim_folder, refuse_existing, resource_errors
from sedtool.errors import ArtifactError, ConfigError
from sedtool.evaluation.psds.sources import open_frame_scores
from sedtool.score_tables import SUFFIX, score_table_paths, write_score_tables
from sedtool.store import is_hdf5, open_scores

__all__ = ["convert_scores"]


def convert_scores(inputs: Sequence[Path], output: str | None, overwrite: bool = False) -> int:
    """Write the scores of each clip as a table; return how many clips there are.

    They are what PSDS is computed of: filtered with the median windows that the file carries.

    Parameters
    ----------
    inputs
        One scores file.
    output
        A folder; it is made where it does not exist.
    overwrite
        Whether files that are there may be replaced.

    Raises
    ------
    ConfigError
        If there is no folder to write to, or one with other tables in it, or the inputs are not one
        scores file.
    ArtifactError
        If the file is one shard of several.
    LabelError
        If two clips would be one file, or a name or class cannot stand in a table.
    OutputExistsError
        If a file is there.
    """
    if len(inputs) != 1 or not is_hdf5(inputs[0]):
        raise ConfigError("score files are made of one scores.h5; give nothing beside it")
    if output is None or output == "-" or Path(output).is_file():
        raise ConfigError("score files are a folder, a file a clip: name it with -o FOLDER")
    shard = open_scores(inputs[0]).shard
    if not shard.is_whole:
        raise ArtifactError(f"{inputs[0]} is shard {shard}; join all with sedtool merge first")
    source, folder = open_frame_scores(inputs[0]), Path(output)
    paths = score_table_paths(folder, source.names)
    with claim_folder(folder):
        with resource_errors(folder):
            for path in paths:
                refuse_existing(path, overwrite)
            others = {*folder.glob(f"*{SUFFIX}")} - {*paths}
        if others:
            raise ConfigError(
                f"{folder} has other files that would be read as scores, such as {min(others)}; "
                "name a folder of its own"
            )
        return write_score_tables(folder, source.classes, source.clips())
