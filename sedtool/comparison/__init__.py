"""Scored runs -> the table of a paper: every pooling, its seeds, and what is more than chance.

What a table says is computed anew from each run's scores of the test clips, so that clips and seeds
can be resampled; a run whose metrics.json says otherwise is refused. `runs` finds runs, `scoring`
scores them, `statistics` compares, `tables` and `formats` write.
"""

from sedtool.comparison.formats import TSV_COLUMNS, as_latex, as_tsv
from sedtool.comparison.runs import RunSet, TrainedRun, find_runs
from sedtool.comparison.scoring import System, score_runs
from sedtool.comparison.stage import (
    FORMATS,
    check_outputs,
    compare_runs,
    format_comparison,
    write_tables,
)
from sedtool.comparison.statistics import Comparison, Gain, compare_systems
from sedtool.comparison.tables import as_markdown, as_text

__all__ = [
    "FORMATS",
    "TSV_COLUMNS",
    "Comparison",
    "Gain",
    "RunSet",
    "System",
    "TrainedRun",
    "as_latex",
    "as_markdown",
    "as_text",
    "as_tsv",
    "check_outputs",
    "compare_runs",
    "compare_systems",
    "find_runs",
    "format_comparison",
    "score_runs",
    "write_tables",
]
