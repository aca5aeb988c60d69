"""A recipe, poolings and seeds -> one run folder each, scored on the same test clips.

`stages` says which runs there are, what they have in common and how a stage of one is called,
`sweep` makes those that are not made. What the folders hold is said in `sedtool.runs`.
"""

from sedtool.sweep.stages import (
    Hooks,
    Run,
    Step,
    SweepSettings,
    grid,
    parse_poolings,
    parse_seeds,
    part_of,
)
from sedtool.sweep.sweep import StageError, SweepResult, plan_sweep, sweep

__all__ = [
    "Hooks",
    "Run",
    "StageError",
    "Step",
    "SweepResult",
    "SweepSettings",
    "grid",
    "parse_poolings",
    "parse_seeds",
    "part_of",
    "plan_sweep",
    "sweep",
]
