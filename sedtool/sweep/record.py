"""sweep.json: what a folder of runs was made for, and what comparing them needs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedtool import __version__
from sedtool.atomic import lock, write_text
from sedtool.errors import ArtifactError
from sedtool.sweep.checks import file_digest
from sedtool.sweep.commands import SweepInputs
from sedtool.sweep.grid import Run

__all__ = ["NAME", "TABLES", "NamedFile", "SweepRecord", "comparison_line", "read_record"]

NAME = "sweep.json"
TABLES = tuple(f"comparison.{suffix}" for suffix in ("txt", "md", "tsv", "tex"))
_FORMAT = {"format": "sedtool-sweep", "format_version": 1}


@dataclass(frozen=True)
class NamedFile:
    """A file, and what was in it."""

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "NamedFile":
        """Return a file as it is now."""
        return cls(path, file_digest(path))

    def require(self) -> Path:
        """Return the path, or raise an ArtifactError if the file is not what it was."""
        if not self.path.is_file():
            raise ArtifactError(f"{self.path} is not there any more; name it, or sweep again")
        if file_digest(self.path) != self.sha256:
            raise ArtifactError(f"{self.path} is not what the runs were scored against")
        return self.path


@dataclass(frozen=True)
class SweepRecord:
    """What sweep.json says."""

    recipe: str
    data: str
    runs: tuple[str, ...]  # names of all runs that were ever asked for
    reference: NamedFile
    weak_reference: NamedFile | None
    paper: Path | None


def write_record(output: Path, inputs: SweepInputs, runs: Sequence[Run]) -> None:
    """Write sweep.json; runs that an earlier sweep asked for stay in it."""
    path = output / NAME
    holder = output / f".{NAME}.lock"
    with lock(holder, path):
        earlier = read_record(path).runs if path.exists() else ()
        names = dict.fromkeys((*earlier, *(run.name for run in runs)))
        weak = inputs.weak_reference
        fields = _FORMAT | {
            "sedtool_version": __version__,
            "recipe": str(inputs.recipe.resolve()),
            "data": str(inputs.data.resolve()),
            "reference": _json(inputs.path(inputs.reference)),
            "weak_reference": None if weak is None else _json(inputs.path(weak)),
            "paper": None if inputs.paper is None else str(inputs.paper.resolve()),
            "runs": list(names),
        }
        write_text(path, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
        holder.unlink(missing_ok=True)


def _json(path: Path) -> dict[str, str]:
    return {"path": str(path), "sha256": file_digest(path)}


def read_record(path: Path) -> SweepRecord:
    """Read sweep.json.

    Raises
    ------
    ArtifactError
        If it is damaged, or of another version.
    """
    try:
        fields = json.loads(path.read_bytes())
        found = {key: fields[key] for key in _FORMAT}
        if found != _FORMAT:
            raise ValueError(f"it is {found}, not {_FORMAT}")
        weak, paper = fields["weak_reference"], fields["paper"]
        return SweepRecord(
            str(fields["recipe"]),
            str(fields["data"]),
            tuple(map(str, fields["runs"])),
            _file(fields["reference"]),
            None if weak is None else _file(weak),
            None if paper is None else Path(paper),
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error!r})") from None


def _file(fields: dict[str, Any]) -> NamedFile:
    return NamedFile(Path(fields["path"]), str(fields["sha256"]))


def comparison_line(output: Path, inputs: SweepInputs) -> list[str]:
    """Return the command line that makes the tables of all runs in the folder."""
    folder = output.resolve()
    line = ["compare", str(folder), "--reference", inputs.reference]
    if inputs.weak_reference is not None:
        line += ["--weak-reference", inputs.weak_reference]
    line += [word for name in TABLES for word in ("-o", str(folder / name))]
    return [*line, "--overwrite", *inputs.common()]
