"""Count what a training run of a recipe computes, before anybody pays for it.

    python recipes/cost.py recipes/dcase2017/dcase2017.yaml --held-out 10235

Multiplications and additions are counted by PyTorch's `FlopCounterMode` on the network itself, for
clips of ten seconds: forward and backward for every training clip, forward again for the teacher
of a mean teacher, and forward for every held-out clip after each epoch. Features, pooling,
optimiser and all that only moves data are left out, so hours are a floor: those of a GPU that does
nothing else, at a rate that it keeps up. `--measure` times one step of the network, in CPU seconds
of one thread.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from sedtool.config import (
    FEATURE_PRESETS,
    PoolingConfig,
    TrainConfig,
    lookup,
    parse_architecture,
)
from sedtool.config.recipe import read_recipe
from sedtool.crnn import Detector
from sedtool.errors import ConfigError, SedtoolError

CLASSES = {"dcase2017": 17, "dcase2019": 10}  # by preset


def main(arguments: list[str] | None = None) -> int:
    """Print the cost of one run; return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--held-out", type=int, default=0, metavar="CLIPS")
    parser.add_argument("--tflops", type=float, default=10.0, help="1e12 operations a second; 10")
    parser.add_argument("--arch", help="in place of the recipe's")
    parser.add_argument("--measure", action="store_true", help="time one step on one CPU thread")
    options = parser.parse_args(arguments)
    try:
        for line in describe(**vars(options)):
            print(line)
    except SedtoolError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def describe(
    recipe: Path, held_out: int, tflops: float, arch: str | None, measure: bool
) -> list[str]:
    """Return what one run costs, a line each."""
    sections = read_recipe(recipe)
    train = {key: value for key, (value, _) in sections["train"].values.items()}
    preset = sections["extract"].values["preset"][0]
    config = lookup(FEATURE_PRESETS, preset, "preset")
    n_frames = config.n_frames(10 * config.sample_rate)
    if not train.get("steps-per-epoch"):
        raise ConfigError(f"{recipe} does not state steps-per-epoch in its section train")
    batch = tuple(int(size) for size in train.get("batch-size", "").split(",") if size)
    batch = batch or TrainConfig.batch_sizes[train["method"]]
    steps = int(train["epochs"]) * int(train["steps-per-epoch"])
    network = Detector(
        parse_architecture(arch or train["arch"]),
        PoolingConfig.parse(train["pooling"]),
        config.n_mels,
        CLASSES[preset],
    )
    clip = torch.zeros(1, n_frames, config.n_mels)
    forward, both = count(network, clip, backward=False), count(network, clip, backward=True)
    has_teacher = train["method"] == "mean-teacher"
    trained = steps * sum(batch) * (both + has_teacher * forward)
    validated = int(train["epochs"]) * held_out * forward
    lines = [
        f"{n_frames} x {config.n_mels} features: {forward / 2e9:.2f} G multiply-adds a clip "
        f"forward, {both / forward:.2f} times that with backward",
        f"{steps} steps of {sum(batch)} clips: {steps * sum(batch)} clips, "
        f"{trained / 1e15:.1f}e15 operations to train, {validated / 1e15:.1f}e15 to validate",
        f"at {tflops:g}e12 operations a second kept up: "
        f"{(trained + validated) / tflops / 3.6e15:.1f} hours, at least",
    ]
    if measure:
        seconds = cpu_seconds(network, clip.expand(sum(batch), -1, -1), has_teacher)
        lines.append(
            f"a step: {seconds:.1f} s of CPU time, one thread; {steps} of them: "
            f"{seconds * steps / 3600:.0f} hours"
        )
    return lines


def count(network: Detector, clips: torch.Tensor, backward: bool) -> int:
    """Return the operations of the network on a batch; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        run(network, clips, backward)
    return int(counter.get_total_flops())


def run(network: Detector, clips: torch.Tensor, backward: bool) -> None:
    """Run a batch through the network, and back for the gradients if so asked."""
    lengths = torch.full((len(clips),), clips.shape[1])
    with torch.set_grad_enabled(backward):
        output = network(clips, lengths)
    if backward:
        (output.logits.mean() + output.log_y.mean()).backward()


def cpu_seconds(network: Detector, clips: torch.Tensor, has_teacher: bool) -> float:
    """Return the CPU time of the network in one step; the best of two, after one to warm up."""
    torch.set_num_threads(1)
    best = math.inf
    for _ in range(3):
        started = time.process_time()
        run(network, clips, backward=True)
        if has_teacher:
            run(network, clips, backward=False)
        best = min(best, time.process_time() - started)
    return best


if __name__ == "__main__":
    sys.exit(main())
