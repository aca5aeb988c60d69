"""The demo: every stage of sedtool on sounds made on the spot.

`sounds` makes ten kinds of sound and mixes them into clips with labels; `pipeline` runs extract,
train, tune, infer and evaluate on them.
"""

from sedtool.demo.pipeline import DEMO_TRAINING, DemoFiles, run_demo

__all__ = ["DEMO_TRAINING", "DemoFiles", "run_demo"]
