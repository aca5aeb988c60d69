"""A recipe, poolings and seeds -> one run folder each, scored on the same test clips.

The folder of a sweep holds::

    sweep.json              what all runs have in common: recipe, reference, runs asked for
    POOLING/seed-N/         a run: what `train` leaves, and
        sweep.log           what the stages said
        test/scores.h5      of the test clips; beside it events.tsv and tags.tsv
        test/settings.json  the settings of tune, infer and evaluate, files by digest
        test/metrics.json   written last
    comparison.txt          the tables of `sedtool compare`; as .md, .tsv and .tex, too

Stages run as processes of their own, as the command lines a user could type, in the data folder.
"""

from sedtool.sweep.children import ChildError
from sedtool.sweep.commands import SweepInputs
from sedtool.sweep.grid import Run, grid, parse_poolings, parse_seeds, part_of
from sedtool.sweep.making import SweepResult
from sedtool.sweep.stage import plan_sweep, sweep

__all__ = [
    "ChildError",
    "Run",
    "SweepInputs",
    "SweepResult",
    "grid",
    "parse_poolings",
    "parse_seeds",
    "part_of",
    "plan_sweep",
    "sweep",
]
