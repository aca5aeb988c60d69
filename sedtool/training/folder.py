"""The run folder: config.yaml, run.json, metrics.tsv."""

import dataclasses
import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from sedtool import __version__
from sedtool.atomic import resource_errors, write_text
from sedtool.checkpoint import file_sha256
from sedtool.config import TrainConfig
from sedtool.errors import OutputExistsError
from sedtool.training.inputs import TrainInputs

__all__ = ["RunFolder"]


class RunFolder:
    """Where a training run keeps its files.

    Parameters
    ----------
    path
        The folder.
    resume, overwrite
        What may be done with a run that is there already: go on with it, or start anew over it.

    Raises
    ------
    OutputExistsError
        If a run is there and neither was asked for.
    """

    def __init__(self, path: Path, resume: bool, overwrite: bool) -> None:
        self.path = path
        self.config, self.record = path / "config.yaml", path / "run.json"
        self.metrics, self.model = path / "metrics.tsv", path / "model.safetensors"
        self.last = path / "last.pt"
        there = [file for file in (self.model, self.last) if file.exists()]
        can_resume = resume and self.last.exists()
        if there and not (can_resume or overwrite):
            raise OutputExistsError(
                f"{path} holds a run already; --resume goes on with it, --overwrite starts anew"
            )

    def prepare(self, anew: bool) -> None:
        """Make the folder; `anew` removes the files of the run that is there.

        Called when everything a run needs has been read, so that a mistake costs no model.
        """
        with resource_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if anew:
                for file in (self.last, self.model, self.metrics, self.record):
                    file.unlink(missing_ok=True)

    def write_config(self, inputs: TrainInputs, config: TrainConfig, device: str) -> None:
        """Write the settings so that ``sedtool train -c config.yaml -o OTHER`` runs them again."""
        values: dict[str, Any] = {}
        for name, value in vars(inputs).items():
            if isinstance(value, tuple):
                values[name] = [str(path.resolve()) for path in value]
            elif isinstance(value, Path):
                values[name] = str(value.resolve())
            elif value is not None:
                values[name] = value
        values |= dataclasses.asdict(config) | {"device": device}
        options = {name.replace("_", "-"): value for name, value in values.items()}
        write_text(self.config, yaml.safe_dump({"train": options}, sort_keys=False))

    def open_record(self, inputs: TrainInputs, config: TrainConfig, device: str) -> None:
        """Write run.json: what runs, where, on which inputs; `close_record` says how it ended."""
        before = json.loads(self.record.read_text()) if self.record.is_file() else None
        packages = ("torch", "numpy", "scipy", "h5py", "safetensors")
        self._record = {
            "command": sys.argv,
            "sedtool_version": __version__,
            "python": platform.python_version(),
            "versions": {name: importlib.metadata.version(name) for name in packages},
            "git_revision": _git_revision(),
            "host": platform.node(),
            "device": device,
            "seed": config.seed,
            "inputs": {str(path): file_sha256(path) for path in inputs.paths()},
            "started": _now(),
            "finished": None,
            "status": "running",
            "resumed": before,  # the record of the session that this one goes on from
        }
        self._write_record()

    def close_record(self, status: str, **results: Any) -> None:
        """Close run.json."""
        self._record |= {"finished": _now(), "status": status, **results}
        self._write_record()

    def _write_record(self) -> None:
        write_text(self.record, json.dumps(self._record, indent=2) + "\n")

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Write a row an epoch; columns are those of the first row."""
        lines = ["\t".join(rows[0])] if rows else []
        for row in rows:
            cells = (f"{v:.6g}" if isinstance(v, float) else str(v) for v in row.values())
            lines.append("\t".join(cells))
        write_text(self.metrics, "".join(line + "\n" for line in lines))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _git_revision() -> str | None:
    """Return the revision of the folder the command runs in: that of the user's experiment."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
