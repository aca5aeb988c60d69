"""features.h5 + labels -> run/model.safetensors: one loop for every method.

A run folder holds::

    config.yaml         every setting, resolved: `train -c config.yaml -o OTHER` repeats it
    run.json            command, versions, digests of inputs; written first, closed at the end
    metrics.tsv         a row an epoch, without a clock: equal runs are equal files
    model.safetensors   the best model so far, by the stated validation score
    teacher.safetensors the teacher of that epoch, of a mean teacher; or student.safetensors
    epochs/             040.safetensors and so on: models of epochs that were to be kept
    last.pt             what resuming needs; previous.pt is the one before it

Every random draw is a function of (seed, epoch, step, index), so a resumed run repeats those of
one that was never interrupted, bit for bit on a CPU with the same number of threads.
"""

from sedtool.training.inputs import TrainInputs, Validation, load_inputs
from sedtool.training.train import TrainResult, train
from sedtool.training.trainer import Progress

__all__ = [
    "Progress",
    "TrainInputs",
    "TrainResult",
    "Validation",
    "load_inputs",
    "train",
]
