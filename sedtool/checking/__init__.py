"""Audio and label files against each other, before hours are spent on them.

`sedtool.checking.rules` has the table of problems and notes, and how each is found.
"""

from sedtool.checking.report import CheckInputs, Finding, Report, check

__all__ = ["CheckInputs", "Finding", "Report", "check"]
