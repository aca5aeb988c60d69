"""Extractions of a folder with settings that are quick to compute."""

from pathlib import Path

from sedtool.config import ExtractConfig
from sedtool.extraction import ExtractionResult, extract
from support.features import CONFIG


def beside(output: Path) -> list[str]:
    """Return the names of the files in the folder of an output, but for records of what it is."""
    return sorted(path.name for path in output.parent.iterdir() if path.suffix != ".made")


def run(folder: Path, output: Path, **settings) -> ExtractionResult:
    return extract([folder], output, CONFIG, ExtractConfig(overwrite=True, **settings))
