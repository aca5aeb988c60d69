"""Parts of a job array -> the one file that a single job would have written, byte for byte."""

from sedtool.merging.finding import check_siblings
from sedtool.merging.stage import MergeResult, merge

__all__ = ["MergeResult", "check_siblings", "merge"]
