"""A recipe, poolings, settings and seeds -> one run folder each, scored on the same test clips.

`grid` says which runs there are, `stages` what they take and how a stage of one is called, `sweep`
makes those that are not made. What the folders hold is said in `sedtool.runs`.
"""

from sedtool.sweep.grid import grid, parse_poolings, parse_seeds, parse_varied, part_of
from sedtool.sweep.stages import FREE, Hooks, Step, SweepSettings
from sedtool.sweep.sweep import plan_sweep, sweep

__all__ = [
    "FREE",
    "Hooks",
    "Step",
    "SweepSettings",
    "grid",
    "parse_poolings",
    "parse_seeds",
    "parse_varied",
    "part_of",
    "plan_sweep",
    "sweep",
]
