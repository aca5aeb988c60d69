"""The demo: every stage of sedtool on sounds made on the spot.

`sounds` makes the ten kinds of sound, `dataset` mixes them into clips with labels, and `pipeline`
runs extract, train, tune, infer and evaluate on them.
"""

from sedtool.demo.dataset import make_dataset
from sedtool.demo.pipeline import DEMO_TRAINING, DemoFiles, run_demo

__all__ = ["DEMO_TRAINING", "DemoFiles", "make_dataset", "run_demo"]
