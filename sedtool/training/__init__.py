"""features.h5 + labels -> run/model.safetensors: one loop for every method.

What a run folder holds is said in `sedtool.runs`. Every random draw is a function of (seed, epoch,
step, index), so a resumed run repeats those of one that was never interrupted, bit for bit on a CPU
with the same number of threads.
"""

from sedtool.config import TrainInputs
from sedtool.training.inputs import load_inputs
from sedtool.training.trainer import TrainResult, train

__all__ = ["TrainInputs", "TrainResult", "load_inputs", "train"]
