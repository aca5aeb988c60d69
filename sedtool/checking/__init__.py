"""Audio and label files against each other, before hours are spent on them.

`sedtool.checking.rules` has a class for each of the problems and notes, in four groups: the audio,
each label file by itself, label files against the audio, and label files against each other.
"""

from sedtool.checking.report import CheckInputs, Finding, Report, check

__all__ = ["CheckInputs", "Finding", "Report", "check"]
