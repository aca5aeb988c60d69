"""Mean teacher: the teacher's average, what both should agree on, and how much that counts.

A teacher is an average over the steps of a student. On every clip, labelled or not, the student
is drawn towards what the teacher says of the same clip with noise in it.

Axis letters: B clips in a batch, T' output frames, K classes.

References
----------
A. Tarvainen, H. Valpola, "Mean teachers are better role models: weight-averaged consistency
targets improve semi-supervised deep learning results", NeurIPS 2017. L. JiaKai, "Mean teacher
convolution system for DCASE 2018 task 4", DCASE 2018: frame and clip predictions.
"""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from sedtool.checkpoint import load_model
from sedtool.crnn import Detector, Output
from sedtool.errors import ArtifactError
from sedtool.runs import RunFolder

__all__ = ["Teacher", "average_share", "consistency_losses", "ramp", "teacher_of"]


def ramp(step: int, ramp_up: int) -> float:
    """Return the share of the largest consistency weight at a step, from exp(-5) up to 1.

    exp(-5 (1 - t)²) with t = step / ramp_up, and 1 from step `ramp_up` on (Tarvainen and Valpola
    2017, their sigmoid-shaped function).
    """
    t = min(step / ramp_up, 1.0) if ramp_up else 1.0
    return math.exp(-5.0 * (1.0 - t) ** 2)


def average_share(step: int, ema: float) -> float:
    """Return the share α of the teacher in its new average after step `step`, counted from 0.

    α = min(1 - 1 / (step + 1), ema): the mean over all students so far until they are so many that
    an exponential average forgets. After step 0 the teacher is the student.
    """
    return min(1.0 - 1.0 / (step + 1), ema)


def consistency_losses(student: Output, teacher: Output) -> tuple[Tensor, Tensor]:
    """Return the mean squared difference of frame probabilities, and that of clip probabilities.

    Frames count where they belong to a clip; all clips of the batch count. Gradients reach the
    student alone.
    """
    with torch.autocast(device_type=student.logits.device.type, enabled=False):
        padding = ~student.mask[..., None]
        logits = [out.logits.float().masked_fill(padding, 0.0) for out in (student, teacher)]
        frame = logits[0].sigmoid() - logits[1].detach().sigmoid()  # 0 in the padding
        n_values = student.mask.sum() * frame.shape[2]
        clip = student.log_y.exp() - teacher.log_y.detach().exp()
        return frame.square().sum() / n_values, clip.square().mean()


class Teacher:
    """The average of a network under training, which starts as a copy of the student.

    `ema` is the largest share of the teacher in each new average. With `average_buffers`, the
    running statistics of batch norm are averaged like weights. Without, they are those of what the
    teacher itself is given, noise included, as in the DCASE 2019 baseline.
    """

    def __init__(self, network: Detector, ema: float, average_buffers: bool) -> None:
        self.network, self.ema, self.average_buffers = network, ema, average_buffers
        network.requires_grad_(False)
        if network.crnn.gru is not None:
            network.crnn.gru.flatten_parameters()  # those of a copy lie apart: slow on a GPU
        if average_buffers:
            for module in network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    # In training mode it normalises by its batch, and leaves the average alone.
                    module.momentum = 0.0

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Take the student after step `step`, counted from 0, into the average."""
        share = average_share(step, self.ema)
        averages: list[Tensor] = list(self.network.parameters())
        latest: list[Tensor] = list(student.parameters())
        if self.average_buffers:
            averages += self.network.buffers()
            latest += student.buffers()
        for mine, other in zip(averages, latest, strict=True):
            if mine.is_floating_point():
                mine.lerp_(other, 1.0 - share)
            else:
                mine.copy_(other)  # the number of batches seen


def teacher_of(path: Path) -> Path:
    """Return the model file of the teacher in the run folder that a model file lies in.

    Raises
    ------
    ArtifactError
        If the model is not a mean teacher's, or its teacher is not there.
    """
    student = load_model(path).trained
    if student.get("network") == "teacher":
        return path
    teacher = RunFolder(path.parent).other("teacher")
    if student.get("network") != "student" or not teacher.exists():
        raise ArtifactError(
            f"{path} has no teacher: train --method mean-teacher keeps it beside its model, "
            f"as {teacher.name}"
        )
    if {**load_model(teacher).trained, "network": "student"} != student:
        raise ArtifactError(f"{teacher} is not the teacher of {path}, but of another epoch or run")
    return teacher
