"""Scored runs -> the table of a paper: every pooling, its seeds, and what is more than chance.

What a table says is computed anew from each run's scores of the test clips, so that clips and seeds
can be resampled; a run whose metrics.json says otherwise is refused. `runs` finds runs, `compare`
evaluates and tests them, `tables` writes.
"""

from sedtool.comparison.compare import Comparison, Gain, System, compare_runs
from sedtool.comparison.tables import TSV_COLUMNS, check_outputs, format_comparison, write_tables

__all__ = [
    "TSV_COLUMNS",
    "Comparison",
    "Gain",
    "System",
    "check_outputs",
    "compare_runs",
    "format_comparison",
    "write_tables",
]
