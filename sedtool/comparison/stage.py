"""`compare_runs`: run folders in, a comparison out; and its tables as files."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sedtool.atomic import claim, refuse_input, write_text
from sedtool.comparison.formats import as_latex, as_tsv
from sedtool.comparison.paper import read_paper
from sedtool.comparison.runs import find_runs
from sedtool.comparison.scoring import score_runs
from sedtool.comparison.statistics import Comparison, compare_systems
from sedtool.comparison.tables import as_markdown, as_text
from sedtool.config import lookup
from sedtool.config.comparison import CompareConfig
from sedtool.errors import ArtifactError, ConfigError
from sedtool.runs import NamedFile

__all__ = ["FORMATS", "compare_runs", "format_comparison", "write_tables"]

FORMATS: dict[str, Callable[[Comparison], str]] = {
    "text": as_text,
    "md": as_markdown,
    "tsv": as_tsv,
    "latex": as_latex,
}
_SUFFIXES = {".txt": "text", ".md": "md", ".tsv": "tsv", ".tex": "latex"}

Report = Callable[[int, int, str], None]


def compare_runs(
    folders: Sequence[Path],
    config: CompareConfig,
    *,
    reference: Path | None = None,
    weak_reference: Path | None = None,
    paper: Path | None = None,
    progress: Report = lambda done, total, what: None,
) -> Comparison:
    """Score the runs in some folders anew, and compare their poolings.

    Parameters
    ----------
    folders
        Run folders, and folders of them, such as that of a sweep.
    config
        The reference pooling, and how often to resample.
    reference, weak_reference
        Labels of the test clips; by default those of the sweep that made the runs.
    paper
        Published numbers; by default those of the sweep.
    progress
        Called with runs scored, runs in all, and the folder of the next.

    Raises
    ------
    ConfigError
        If no reference is known.
    NothingUsableError
        If no run is scored.
    ArtifactError
        If runs were scored in different ways, or not on this reference.
    """
    run_set = find_runs(folders)
    strong = reference or _recorded([r.reference for r in run_set.records], "reference")
    if strong is None:
        raise ConfigError(
            "the runs are of no sweep: name the labels they were scored on, --reference"
        )
    weak = weak_reference
    if weak is None and reference is None:
        known = [r.weak_reference for r in run_set.records if r.weak_reference is not None]
        weak = _recorded(known, "weak reference")
    table = paper or next((r.paper for r in run_set.records if r.paper is not None), None)
    published = read_paper(table) if table is not None else {}
    systems = score_runs(run_set, strong, weak, progress)
    return compare_systems(systems, run_set, published, config)


def _recorded(files: Sequence[NamedFile], what: str) -> Path | None:
    """Return the one file that all sweeps have scored against; None if there is no sweep."""
    digests = {file.sha256 for file in files}
    if len(digests) > 1:
        paths = ", ".join(sorted({str(file.path) for file in files}))
        raise ArtifactError(f"the runs were scored on different {what} files: {paths}")
    return files[0].require() if files else None


def format_comparison(comparison: Comparison, name: str) -> str:
    """Return a comparison as text, md, tsv or latex."""
    return lookup(FORMATS, name, "format")(comparison)


def write_tables(
    comparison: Comparison, outputs: Sequence[Path], name: str | None, overwrite: bool
) -> None:
    """Write a comparison to files, each in the format `name`, or in that of its suffix."""
    with claim(*outputs, overwrite=overwrite):
        for output in outputs:
            write_text(output, format_comparison(comparison, name or format_of(output)))


def check_outputs(outputs: Sequence[Path], name: str | None, inputs: Sequence[Path]) -> None:
    """Raise a ConfigError if an output cannot be written as asked, before anything is done."""
    if name is not None:
        lookup(FORMATS, name, "format")
    for output in outputs:
        refuse_input(output, inputs)
        if name is None:
            format_of(output)


def format_of(output: Path) -> str:
    """Return the format that the suffix of a file stands for."""
    if output.suffix not in _SUFFIXES:
        raise ConfigError(
            f"{output}: no format is known by that suffix ({', '.join(_SUFFIXES)}); give --format"
        )
    return _SUFFIXES[output.suffix]
