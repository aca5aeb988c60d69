"""The network: log-mel features (B, T, F) -> frame logits (B, T', K) and clip log-probabilities.

Convolutional blocks, bidirectional GRU layers if any, one linear layer, then a pooling. Clips
shorter than their batch are padded; in evaluation padding changes nothing: it is zeroed before
every convolution (which pads with zeros itself), and the GRU runs over the valid frames alone.

Axis letters: B clips, C channels, T frames, F mel bands, K classes, H hidden size.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sedtool.config import ArchitectureConfig, PoolingConfig
from sedtool.draws import draw_normal
from sedtool.plugins import find
from sedtool.pooling import make_pooling

__all__ = [
    *("CRNN", "Detector", "Ensemble", "Output"),
    *("floor", "frame_mask", "most_values", "pooled_length"),
]

VALUE_MEMORY = 12  # bytes, of a value that a block makes: about three tensors are alive at a time
PIECE_MEMORY = 2**28  # bytes, of the blocks on one clip in evaluation; longer ones go in pieces


class Output(NamedTuple):
    """What a detector says about a batch; T' is the number of output frames."""

    logits: Tensor  # (B, T', K), of frames; meaningless where `mask` is False
    mask: Tensor  # (B, T'), True on the frames of the clip
    log_y: Tensor  # (B, K), log of the clip probability
    log_not_y: Tensor  # (B, K), log of one minus it


def pooled_length(length: Tensor | int, pools: tuple[tuple[int, int], ...]) -> Tensor | int:
    """Return the output frames of `length` feature frames: every pooling rounds up."""
    for time, _ in pools:
        length = -(-length // time)
    return length


def frame_mask(lengths: Tensor, n_frames: int) -> Tensor:
    """Return a mask (B, T), True on the first ``lengths[b]`` frames of clip b."""
    return torch.arange(n_frames, device=lengths.device) < lengths[:, None]


def floor(features: Tensor, lengths: Tensor, share: float) -> Tensor:
    """Return the level (B, 1, F) that `share` of the valid frames of each band are at or below.

    Of features (B, T, F). Sounds come and go and what is behind them stays, so that the lowest
    levels of a band are those of the background (R. Martin, "Noise power spectral density
    estimation based on optimal smoothing and minimum statistics", IEEE Transactions on Speech and
    Audio Processing 9(5), 2001).
    """
    n_frames, n_bands = features.shape[1:]
    known = features.masked_fill(~frame_mask(lengths, n_frames)[..., None], torch.inf)
    # Counts of frames by length, so that a clip has the same one in whatever batch it is.
    counts = torch.tensor([math.ceil(share * n) for n in range(n_frames + 1)])
    lowest = known.topk(int(counts[-1]), dim=1, largest=False).values  # ascending
    last = counts.to(lengths.device)[lengths] - 1
    return lowest.gather(1, last[:, None, None].expand(-1, 1, n_bands))


class Convolution(nn.Conv2d):
    """A convolution (B, C, T, F) -> (B, C', T, F), the same in every clip and frequency band."""

    def __init__(self, config: ArchitectureConfig, index: int) -> None:
        n_in, n_out = config.inputs[index], config.channels[index]
        kernel = config.kernels[index]
        super().__init__(n_in, n_out, kernel, padding=kernel // 2)
        _init_convolution(self, config.init)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:  # type: ignore[override]
        """Convolve; the padding, which is zero in `x`, is none of its concern."""
        return super().forward(x)


class FrequencyDynamicConvolution(nn.Module):
    """A convolution whose kernel depends on the clip and on the frequency band.

    It is a sum of N convolutions with weights that add up to 1 in each band: a softmax of what two
    convolutions over frequency make of the mean of the input over the frames of the clip. An
    ordinary one treats all bands alike, as if a sound that is shifted in pitch were the same sound.

    References
    ----------
    H. Nam, S.-H. Kim, B.-Y. Ko, Y.-H. Park, "Frequency dynamic convolution: frequency-adaptive
    pattern recognition for sound event detection", Interspeech 2022 (arXiv 2203.15296).
    """

    temperature = 31.0  # keeps the weights nearly equal until the kernels have become different

    def __init__(self, config: ArchitectureConfig, index: int) -> None:
        super().__init__()
        n_in, n_out = config.inputs[index], config.channels[index]
        kernel, self.n_kernels = config.kernels[index], config.fdy
        # All kernels in one convolution, whose output channels are those of the first, then ...
        self.kernels = nn.Conv2d(n_in, self.n_kernels * n_out, kernel, padding=kernel // 2)
        _init_convolution(self.kernels, config.init, self.n_kernels)
        n_hidden = max(n_in // 4, 4)
        self.attention = nn.Sequential(
            nn.Conv1d(n_in, n_hidden, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(n_hidden, config.norm_eps, config.norm_momentum),
            nn.ReLU(),
            nn.Conv1d(n_hidden, self.n_kernels, 1),
        )

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Convolve (B, C, T, F), which is zero where `padding` (B, 1, T, 1) is True."""
        n_frames = x.shape[2] if padding is None else (~padding).sum(dim=2)  # (B, 1, 1)
        weights = self.attention(x.sum(dim=2) / n_frames)  # (B, C, F) -> (B, N, F)
        weights = (weights / self.temperature).softmax(dim=1)
        parts = self.kernels(x).unflatten(1, (self.n_kernels, -1))  # (B, N, C', T, F)
        return torch.einsum("bnctf,bnf->bctf", parts, weights)


def _init_convolution(layer: nn.Conv2d, init: str, n_kernels: int = 1) -> None:
    """Draw the weights of a convolution that stands for several with the same input."""
    for weight in layer.weight.chunk(n_kernels):
        nn.init.xavier_uniform_(weight, gain=1.0 if init == "xavier" else 2**0.5)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU, max pooling.

    Pooling before ReLU is the same function with identical gradients, and does less work. `index`
    says which block of the network this is, from 0.
    """

    pool_type: type[nn.MaxPool2d | nn.AvgPool2d] = nn.MaxPool2d

    def __init__(self, config: ArchitectureConfig, index: int) -> None:
        super().__init__()
        is_dynamic = index > 0 and config.fdy > 0
        self.conv = (FrequencyDynamicConvolution if is_dynamic else Convolution)(config, index)
        self.norm = nn.BatchNorm2d(config.channels[index], config.norm_eps, config.norm_momentum)
        self.dropout = nn.Dropout(config.dropout if config.dropout_at == "blocks" else 0.0)
        self.time = config.pools[index][0]
        # The last frames of a clip count even where they do not fill a window.
        self.pool = self.pool_type(config.pools[index], ceil_mode=True)
        if config.init != "xavier":
            draw_normal(self.norm.weight, 1.0, 0.02)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Map (B, C, T, F) to (B, C', T', F'); `padding` (B, 1, T, 1) is True beyond the clips."""
        x = self.dropout(self.norm(self.conv(x, padding)))
        if padding is not None:
            x = x.masked_fill(padding, -torch.inf)  # loses every max, and ReLU makes it 0
        return F.relu(self.pool(x))


class GatedBlock(ConvBlock):
    """Convolution, batch norm, gated linear unit, dropout, average pooling.

    The unit is that of the DCASE 2019 baseline, ``Linear(x) * sigmoid(x)``: the gate is the input
    itself, and the linear layer is over channels. A window that reaches beyond the end of a clip
    has the mean of the frames that are in the clip.
    """

    pool_type = nn.AvgPool2d

    def __init__(self, config: ArchitectureConfig, index: int) -> None:
        super().__init__(config, index)
        self.linear = nn.Linear(config.channels[index], config.channels[index])
        # The baseline draws these, too, from N(0, 0.01), which leaves the GRU signals of 0.01 and
        # no batch norm to raise them: training starts more slowly.
        _init_linear(self.linear, "xavier")

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        x = self.norm(self.conv(x, padding))
        # (B, C, T, F) -> (B, T, F, C) and back; with channels last that moves nothing.
        x = self.gate(x, self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        x = self.dropout(x)
        if padding is None:
            pooled: Tensor = self.pool(x)
            return pooled
        valid = (~padding).to(x.dtype)
        share = F.avg_pool2d(valid, (self.time, 1), ceil_mode=True)  # of each window, (B, 1, T', 1)
        # Where nothing of a window is valid, its mean is 0 and so is that of the padding.
        pooled = self.pool(x.masked_fill(padding, 0.0)) / share.clamp_min(1 / (2 * self.time))
        return pooled

    def gate(self, x: Tensor, linear: Tensor) -> Tensor:
        """Return what the gate lets through of the input and of the linear layer's output."""
        return linear * x.sigmoid()


class ContextBlock(GatedBlock):
    """A block whose gate is context gating, ``x * sigmoid(Linear(x))``.

    References
    ----------
    A. Miech, I. Laptev, J. Sivic, "Learnable pooling with context gating for video
    classification", 2017 (arXiv 1706.06905); in a CRNN for sound events, FDY-SED.
    """

    def gate(self, x: Tensor, linear: Tensor) -> Tensor:
        """Return the input where the linear layer's output lets it through."""
        return x * linear.sigmoid()


def most_values(config: ArchitectureConfig, n_mels: int) -> int:
    """Return how many values the block with the most of them makes of a frame."""
    bands = [n_mels // math.prod(f for _, f in config.pools[:i]) for i in range(16)]
    kernels = [1, *[max(config.fdy, 1)] * 15]
    return max(map(math.prod, zip(config.channels, bands, kernels, strict=False)))


BLOCKS: dict[str, type[ConvBlock]] = {
    "relu-max": ConvBlock,
    "glu-average": GatedBlock,
    "context-average": ContextBlock,
}


def _init_linear(layer: nn.Linear, init: str) -> None:
    if init == "xavier":
        nn.init.xavier_uniform_(layer.weight)
    else:
        draw_normal(layer.weight, 0.0, 0.01)
    nn.init.zeros_(layer.bias)


class CRNN(nn.Module):
    """Features (B, T, F) -> frame logits (B, T', K) and the hidden states (B, T', H) behind them.

    References
    ----------
    Y. Wang, J. Li, F. Metze, ICASSP 2019 (three blocks, one GRU); the batch norms and the second
    GRU layer are the power-pooling paper's. `sedtool.config.ARCHITECTURES` says where the other
    networks come from.
    """

    def __init__(self, config: ArchitectureConfig, n_mels: int, n_classes: int) -> None:
        super().__init__()
        self.pools = config.pools
        self.step = math.prod(time for time, _ in config.pools)  # feature frames of an output frame
        self.reach = self.step * sum(kernel // 2 for kernel in config.kernels)  # of an output frame
        # Whether frames beyond its reach do not change an output frame; blocks of others may look
        # at all of them.
        self.is_local = not (config.fdy or config.floor) and config.block in BLOCKS
        self.floor = config.floor
        self.frame_memory = VALUE_MEMORY * most_values(config, n_mels)
        block = find(BLOCKS, "block", config.block, nn.Module)
        self.blocks = nn.ModuleList(block(config, i) for i in range(len(config.channels)))
        bands = n_mels
        for _, frequency in config.pools:
            bands = -(-bands // frequency)
        between = config.dropout if config.dropout_at == "all" else 0.0
        self.dropout, self.last_dropout = nn.Dropout(between), nn.Dropout(config.dropout)
        self.gru, self.hidden_size = None, config.channels[-1] * bands
        if config.gru_layers:
            self.gru = nn.GRU(
                self.hidden_size,
                config.gru_units,
                config.gru_layers,
                batch_first=True,
                bidirectional=True,
                dropout=between if config.gru_layers > 1 else 0.0,
            )
            for name, parameter in self.gru.named_parameters():
                (nn.init.orthogonal_ if "weight" in name else nn.init.zeros_)(parameter)
            self.hidden_size = 2 * config.gru_units
        self.classify = nn.Linear(self.hidden_size, n_classes)
        _init_linear(self.classify, config.init)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network; `lengths` (B,) counts the valid frames of each clip."""
        padded = bool((lengths < features.shape[1]).any())
        x = features[:, None]  # (B, 1, T, F)
        if self.floor:
            x = torch.stack([features, features - floor(features, lengths, self.floor)], dim=1)
        x = x.contiguous(memory_format=torch.channels_last)
        is_long = len(x) == 1 and x.shape[2] * self.frame_memory > PIECE_MEMORY
        x = (
            self._in_pieces(x)
            if is_long and self.is_local and not self.training
            else self._convolve(x, lengths, padded)
        )
        lengths = pooled_length(lengths, self.pools)  # type: ignore[assignment]
        x = x.permute(0, 2, 1, 3).flatten(2)  # (B, C, T', F') -> (B, T', C*F')
        if self.gru is not None:
            x = _recur(self.gru, self.dropout(x), lengths, padded)
        hidden = self.last_dropout(x)
        return self.classify(hidden), hidden

    def _convolve(self, x: Tensor, lengths: Tensor, padded: bool) -> Tensor:
        """Map (B, 1 or 2, T, F) to (B, C, T', F')."""
        if padded:
            x = x.masked_fill(_padding(lengths, x), 0.0)
        for index, block in enumerate(self.blocks):
            x = block(self.dropout(x) if index else x, _padding(lengths, x) if padded else None)
            lengths = pooled_length(lengths, (self.pools[index],))  # type: ignore[assignment]
        return x

    def _in_pieces(self, x: Tensor) -> Tensor:
        """Do as `_convolve`, in evaluation, with a clip of any length in bounded memory."""
        size = PIECE_MEMORY // self.frame_memory // self.step * self.step
        parts = []
        for start in range(0, x.shape[2], size):
            first = max(start - self.reach, 0)
            piece = x[:, :, first : start + size + self.reach]
            skipped = (start - first) // self.step
            part = self._convolve(piece, torch.tensor([piece.shape[2]]), padded=False)
            parts.append(part[:, :, skipped : skipped + size // self.step])
        return torch.cat(parts, dim=2)


def _recur(gru: nn.GRU, x: Tensor, lengths: Tensor, padded: bool) -> Tensor:
    """Run the GRU over (B, T', C*F'), backwards from the last valid frame of each clip."""
    if not padded:
        hidden: Tensor = gru(x)[0]
        return hidden
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    hidden, _ = pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=x.shape[1])
    return hidden


def _padding(lengths: Tensor, x: Tensor) -> Tensor:
    """Return (B, 1, T, 1), True beyond the end of each clip of x (B, C, T, F)."""
    return ~frame_mask(lengths, x.shape[2])[:, None, :, None]


class Detector(nn.Module):
    """Normalisation, network and pooling: everything with weights, trained and saved as one."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, config: ArchitectureConfig, pooling: PoolingConfig, n_mels: int, n_classes: int
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("std", torch.ones(n_mels))
        self.crnn = CRNN(config, n_mels, n_classes)
        self.pooling = make_pooling(pooling, n_classes, self.crnn.hidden_size)
        self.use_fast_layout()

    def use_fast_layout(self) -> None:
        """Store convolutions channels last, which is faster on a CPU."""
        self.crnn.to(memory_format=torch.channels_last)

    @property
    def frame_memory(self) -> int:
        """Return the bytes that a feature frame takes in evaluation."""
        return self.crnn.frame_memory

    def forward(self, features: Tensor, lengths: Tensor) -> Output:
        """Detect events in a padded batch of log-mel features (B, T, F), of any float type.

        `lengths` (B,) counts the valid frames of each clip, which has one at least.
        """
        x = (features.to(self.mean.dtype) - self.mean) / self.std
        logits, hidden = self.crnn(x, lengths)
        mask = frame_mask(pooled_length(lengths, self.crnn.pools), logits.shape[1])  # type: ignore[arg-type]
        log_y, log_not_y = self.pooling(logits, hidden, mask)
        return Output(logits, mask, log_y, log_not_y)


class Ensemble(nn.Module):
    """Detectors of the same classes and output frames as one, whose scores are the means of theirs.

    A mean over trainings is right more often than each of them, since they err in different places.
    """

    def __init__(self, members: Sequence[Detector]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def detectors(self) -> list[Detector]:
        """Return the members."""
        return cast(list[Detector], [*self.members])

    def use_fast_layout(self) -> None:
        """Store convolutions channels last, which is faster on a CPU."""
        for detector in self.detectors:
            detector.use_fast_layout()

    @property
    def frame_memory(self) -> int:
        """Return the bytes that a feature frame takes in evaluation."""
        return max(detector.frame_memory for detector in self.detectors)

    def forward(self, features: Tensor, lengths: Tensor) -> Output:
        """Detect events as `Detector` does, by the mean probabilities of frames and clips."""
        outputs = [detector(features, lengths) for detector in self.detectors]

        def log_mean(log_values: Iterable[Tensor]) -> Tensor:
            return torch.stack([*log_values]).float().logsumexp(dim=0) - math.log(len(outputs))

        log_p = log_mean(F.logsigmoid(output.logits) for output in outputs)
        log_not_p = log_mean(F.logsigmoid(-output.logits) for output in outputs)
        log_y = log_mean(output.log_y for output in outputs)
        log_not_y = log_mean(output.log_not_y for output in outputs)
        return Output(log_p - log_not_p, outputs[0].mask, log_y, log_not_y)
