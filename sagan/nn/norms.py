"""The batch norms of the residual generator, whose gains and biases can depend on its inputs.

On the label: conditional batch norm (Dumoulin et al. 2017) with plain (not spectrally normalized)
embeddings. On the latent: self-modulation (Chen et al. 2019, arXiv 1810.01365), here with one
linear map for each norm, on top of what the label says.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from sagan.nn.precision import without_autocast
from sagan.nn.shared_norm import shared_batch_norm
from sagan.nn.spectral_norm import is_spectrally_normalized

# So large that a latent of 128 numbers changes gains by 0.23 (standard deviation) at the start.
SELF_MODULATION_STD = 0.02

GainAndBias = tuple[Tensor, Tensor]  # (B, C) each


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm that leaves `num_batches_tracked` alone: its momentum is constant.

    Attributes:
        shared: whether it trains with the statistics of all processes (`share_batch_norm`).
    """

    shared = False

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C, H, W)."""
        assert self.momentum is not None
        mean, variance = self.running_mean, self.running_var
        if self.shared and self.training:
            assert mean is not None
            assert variance is not None
            return shared_batch_norm(
                x, mean, variance, self.weight, self.bias, self.momentum, self.eps
            )
        return F.batch_norm(
            x, mean, variance, self.weight, self.bias, self.training, self.momentum, self.eps
        )


class UnconditionalBatchNorm2d(nn.Module):
    """Batch norm with the interface of `ConditionalBatchNorm2d`: it ignores the labels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm: nn.Module = BatchNorm2d(channels)

    def forward(
        self, x: Tensor, labels: Tensor | None, modulation: GainAndBias | None = None
    ) -> Tensor:
        """x (B, C, H, W), gain and bias (B, C) to apply afterward -> (B, C, H, W)."""
        x = self.norm(x)
        return _scaled(x, *modulation) if modulation is not None else x

    def fold_into(self, convolution: nn.Conv2d) -> None:
        """Fold this into the convolution before it, for inference."""
        fold_batch_norm(convolution, self.norm)
        self.norm = nn.Identity()


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm with gain and bias (B, C) looked up by label."""

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.norm = BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(num_classes, channels)
        self.bias = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(
        self, x: Tensor, labels: Tensor | None, modulation: GainAndBias | None = None
    ) -> Tensor:
        """x (B, C, H, W), labels (B,), gain and bias (B, C) to apply afterward -> (B, C, H, W)."""
        gain, bias = self.gain(labels), self.bias(labels)  # (B, C)
        if modulation is not None:
            gain, bias = gain * modulation[0], bias * modulation[0] + modulation[1]
        if self.training:
            x = self.norm(x)
        else:
            gain, bias = self._with_running_statistics(gain, bias)
        return _scaled(x, gain, bias)

    def _with_running_statistics(self, gain: Tensor, bias: Tensor) -> GainAndBias:
        """Return gain and bias (B, C) that also normalize: one pass over x instead of two."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert variance is not None
        gain = gain * torch.rsqrt(variance + self.norm.eps)
        return gain, bias - gain * mean


class SelfModulation(nn.Module):
    """Latents (B, L) -> a gain around 1 and a bias around 0, (B, C) each."""

    def __init__(self, latent_size: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * channels, latent_size))
        self.reset()

    def reset(self) -> None:
        """Draw the initial weights."""
        nn.init.normal_(self.weight, std=SELF_MODULATION_STD)

    def forward(self, latents: Tensor) -> GainAndBias:
        """Latents (B, L) -> gain and bias, (B, C) each."""
        with without_autocast(latents):  # near 1, bfloat16 has steps of 0.008
            gain, bias = F.linear(latents, self.weight).chunk(2, dim=1)
        return 1 + gain, bias


def batch_norm(num_classes: int, channels: int) -> nn.Module:
    """Return a batch norm that looks up its gain and bias by label, if there are labels."""
    if num_classes:
        return ConditionalBatchNorm2d(num_classes, channels)
    return UnconditionalBatchNorm2d(channels)


def share_batch_norm(network: nn.Module) -> None:
    """Let all batch norms of a network train with the statistics of all processes, from now on."""
    for norm in network.modules():
        if isinstance(norm, BatchNorm2d):
            norm.shared = True


def tables_of_norms(network: nn.Module) -> Iterator[nn.Embedding]:
    """Yield all gains and biases that are looked up by label."""
    for norm in network.modules():
        if isinstance(norm, ConditionalBatchNorm2d):
            yield norm.gain
            yield norm.bias


def _scaled(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Return x (B, C, H, W) with the gain and bias (B, C) of each image, in its own dtype."""
    gain, bias = gain.to(x.dtype), bias.to(x.dtype)
    return torch.addcmul(bias[:, :, None, None], x, gain[:, :, None, None])


@torch.no_grad()
def fold_batch_norm(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.Module) -> None:
    """Change a convolution, in place, to output what batch norm would make of its output.

    That is batch norm in evaluation mode, with its running statistics.

    Raises:
        ValueError: the convolution is spectrally normalized.
    """
    if is_spectrally_normalized(convolution):
        raise ValueError(
            "fold spectral normalization first: sagan.nn.spectral_norm.fold_spectral_norm"
        )
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
        transpose=isinstance(convolution, nn.ConvTranspose2d),
    )
    convolution.bias = bias
