"""Paths -> the model files that are meant by them."""

from pathlib import Path

from sedtool.errors import ConfigError

__all__ = ["find_model", "find_models"]

_MODEL = "model.safetensors"  # of a run folder: its best epoch


def find_model(path: Path) -> Path:
    """Return the model file that a path is, or that of the run folder it is."""
    if not path.is_dir():
        return path
    if not (path / _MODEL).exists():
        raise ConfigError(f"{path} holds no {_MODEL}; give a model file, or the folder of a run")
    return path / _MODEL


def find_models(path: Path) -> list[Path]:
    """Return the model file that a path is, or those of the run, or of the runs, in a folder."""
    if not path.is_dir() or (path / _MODEL).exists():
        return [find_model(path)]
    found = sorted(path.glob(f"*/{_MODEL}"))
    if not found:
        raise ConfigError(f"{path} holds no {_MODEL}, nor does a folder in it")
    return found
