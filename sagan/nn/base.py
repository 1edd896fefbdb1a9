"""The base classes of both networks: images, features and attention maps for users.

Images are uint8 NHWC outside and float NCHW in [-1, 1] inside. The networks of
all families inherit from these classes, so that every tool works with all of them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, overload

import numpy as np
import torch
from torch import Tensor, nn

from sagan.errors import DivergedError, SaganError
from sagan.images.pixels import to_float, to_uint8
from sagan.images.shape import ImageShape
from sagan.nn.attention import SelfAttention2d, recorded_maps
from sagan.nn.inputs import (
    check_labels,
    check_truncation,
    given_labels,
    given_latents,
    seeded_latents,
)
from sagan.nn.precision import autocast, exact_float32
from sagan.types import Float32Array, FloatArray, Int64Array, StrArray, UInt8Array

AttentionMaps: TypeAlias = dict[str, Float32Array]  # layer name -> (num, N, M)
LabelsLike: TypeAlias = Sequence[int | str] | Int64Array | StrArray | Tensor  # (num,)
LatentsLike: TypeAlias = FloatArray | Tensor  # (num, latent_size)
View: TypeAlias = Tensor | tuple[Tensor, ...]  # images, or features of frozen layers

# Images at a time in inference, to bound memory. Another size may change pixels by rounding.
BATCH_SIZE = 64


class TrainedModel(Protocol):
    """What a generator was loaded from: it can save both networks as they were trained."""

    def check_unchanged(self, generator: "GeneratorBase") -> None:
        """Check that a generator still has the weights that would be saved."""

    def save_pretrained(self, folder: str | Path, card: str = "", license: str = "") -> None:
        """Write the folder that the hub shows."""

    def push_to_hub(
        self, name: str, card: str = "", license: str = "", private: bool = False
    ) -> str:
        """Push the model to the hub, and return the address of its page."""


class GeneratorBase(nn.Module):
    """A network from latents (B, latent_size) and labels (B,) to images (B, C, H, W) in [-1, 1].

    Attributes:
        family: "residual", "projected" or "dcgan", as in a configuration.
        shape: of the images, (H, W, C).
        latent_size: length of a latent vector.
        num_classes: number of labels; 0 for an unconditional model.
        classes: their names, which `sample` takes as labels; a trained model has them.
        self_attention: the attention layers, by the side of their feature map.
        precision: dtype of convolutions and matrix products in `sample`: float32, bfloat16 or
            float16.
        model: the trained model that it was loaded from; None for a network of your own.
    """

    family: str
    shape: ImageShape
    latent_size: int
    num_classes: int
    classes: tuple[str, ...] = ()
    self_attention: nn.ModuleDict
    precision: torch.dtype = torch.float32
    model: TrainedModel | None = None

    def fold_norms(self) -> None:
        """Fold each batch norm that directly follows a convolution into that convolution, in place.

        Do this once, and for inference only: running statistics become part of the weights.
        Conditional batch norm stays, since it differs from image to image. Fold spectral
        normalization first: `sagan.nn.spectral_norm.fold_spectral_norm`.

        Raises:
            ValueError: a convolution is spectrally normalized.
        """
        raise NotImplementedError

    def attention_layers(self) -> dict[str, SelfAttention2d]:
        """Return the attention layers by name, such as "generator.attention_16"."""
        return _named("generator", self.self_attention)

    def save_pretrained(self, folder: str | Path, card: str = "", license: str = "") -> None:
        """Write the model that this generator was loaded from as a folder for the Hugging Face hub.

        The folder has both networks, as they were trained: `load_generator(folder)` loads it, and
        a training can start from it.

        Args:
            folder: missing, without files of the names model.safetensors, config.json and
                README.md, or written by this method.
            card: a model card in Markdown; by default the model's own, or one from its settings.
            license: an identifier of the hub, such as "mit", for the card's metadata.

        Raises:
            SaganError: the folder cannot be written or has other files of these names, the license
                is not an identifier, or this generator's weights are not the model's average.
            ValueError: this generator was not loaded from a model.
        """
        self._trained_model().save_pretrained(folder, card, license)

    def push_to_hub(
        self, name: str, card: str = "", license: str = "", private: bool = False
    ) -> str:
        """Push the model that this generator was loaded from to the Hugging Face hub.

        The token is the one of `hf auth login`, or $HF_TOKEN.

        Args:
            name: USER/NAME; the model is created if it does not exist.
            card: as for `save_pretrained`.
            license: likewise.
            private: create it private, or refuse to push to a public one.

        Returns:
            The address of the model's page.

        Raises:
            SaganError: the user is not signed in or may not write there, the hub does not answer,
                or as for `save_pretrained`.
            ValueError: this generator was not loaded from a model.
        """
        return self._trained_model().push_to_hub(name, card, license, private)

    def _trained_model(self) -> TrainedModel:
        if self.model is not None:
            self.model.check_unchanged(self)
            return self.model
        raise ValueError("this generator was not loaded from a model: use load_generator")

    @overload
    def sample(
        self,
        num: int,
        labels: LabelsLike | None = None,
        seed: int = 0,
        truncation: float = 1.0,
        latents: LatentsLike | None = None,
        return_attention: Literal[False] = False,
    ) -> UInt8Array: ...

    @overload
    def sample(
        self,
        num: int,
        labels: LabelsLike | None = None,
        seed: int = 0,
        truncation: float = 1.0,
        latents: LatentsLike | None = None,
        *,
        return_attention: Literal[True],
    ) -> tuple[UInt8Array, AttentionMaps]: ...

    @torch.inference_mode()
    def sample(
        self,
        num: int,
        labels: LabelsLike | None = None,
        seed: int = 0,
        truncation: float = 1.0,
        latents: LatentsLike | None = None,
        return_attention: bool = False,
    ) -> UInt8Array | tuple[UInt8Array, AttentionMaps]:
        """Generate images: uint8 (num, H, W, C), on the CPU.

        Batch norm uses its running statistics; the state of the network does not change.

        Args:
            num: number of images.
            labels: (num,) integers or names of classes for a conditional model, None for an
                unconditional one.
            seed: determines the latents; image i depends only on (seed, i).
            truncation: factor on the latents' standard deviation, from 0 to 100. Values below 1
                give less variety, and not always better images. (This is neither BigGAN's
                truncated normal nor StyleGAN's psi.)
            latents: (num, latent_size), from -1000 to 1000, to use instead of `seed`: a tensor or
                a NumPy array.
            return_attention: also return {layer name: float32 (num, N, M)}; their rows sum to 1
                (within 0.01 in bfloat16).

        Raises:
            SaganError: labels are missing, superfluous, unknown or out of range, `truncation` is
                out of range, or a map that is to be returned is not finite.
            ValueError: latents have another shape or dtype or are out of range, or a number or
                seed is negative.
        """
        check_truncation(truncation)
        if latents is not None:
            chosen = given_latents(latents, num, self.latent_size)
        else:
            chosen = seeded_latents(num, self.latent_size, seed)
        label_tensor = given_labels(labels, self.classes)
        check_labels(label_tensor, num, self.num_classes)
        layers = self.attention_layers() if return_attention else {}
        images = np.empty((num, *self.shape), dtype=np.uint8)
        maps: list[AttentionMaps] = []
        device = _device(self)
        cast = autocast(device, self.precision)
        with _evaluating(self), recorded_maps(layers) as recorded, cast:
            for part in _batches(num):
                z = truncation * chosen[part].to(device, torch.float32)
                y = label_tensor[part].to(device, torch.int64) if label_tensor is not None else None
                images[part] = to_uint8(self(z, y))
                maps.append(_to_numpy(recorded))
        return (images, _concatenated(maps)) if return_attention else images


class DiscriminatorBase(nn.Module):
    """A network from images (B, C, H, W) in [-1, 1] and labels (B,) to logits (B,).

    A projected discriminator has a logit for each patch: (B, P).

    Attributes:
        family: "residual", "projected" or "dcgan", as in a configuration.
        shape: of the images, (H, W, C).
        num_classes: number of labels; 0 for an unconditional model.
        self_attention: the attention layers by the side of their feature map.
    """

    family: str
    shape: ImageShape
    num_classes: int
    self_attention: nn.ModuleDict

    def view(self, images: Tensor) -> View:
        """Return what the first trained layer takes: images (B, C, H, W), if no layer is frozen.

        `forward` takes it in place of the images.
        """
        return images

    def embed(self, images: Tensor) -> Tensor:
        """Return features (B, D) of images (B, C, H, W): the input of the last linear layer."""
        raise NotImplementedError

    def class_logits(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of features (B, D): one for each label, K = 1 without labels."""
        raise NotImplementedError

    def classify(self, view: View) -> Tensor | None:
        """Return the logits (B, K) of labels by an auxiliary classifier; None without one.

        It is trained beside D and sees only the frozen layers' features: "class_loss" of a
        configuration.

        Args:
            view: as `view` returned it.
        """
        return None

    def first_blocks(self, num: int) -> list[nn.Module]:
        """Return the first `num` blocks, with the attention that follows them."""
        raise NotImplementedError

    def attention_layers(self) -> dict[str, SelfAttention2d]:
        """Return the attention layers by name, such as "discriminator.attention_16"."""
        return _named("discriminator", self.self_attention)

    @torch.no_grad()
    def features(self, images: UInt8Array) -> Float32Array:
        """Return D's features of images: uint8 (num, H, W, C) -> float32 (num, D).

        These are the inputs of the last linear layer. They do not depend on labels.

        Raises:
            SaganError: the images have another size or dtype.
        """
        with _evaluating(self):
            parts = [self.embed(batch).float().cpu().numpy() for batch in self._inputs(images)]
        return np.concatenate(parts)

    def attention(self, images: UInt8Array) -> AttentionMaps:
        """Return D's attention maps: uint8 (num, H, W, C) -> {layer name: float32 (num, N, M)}.

        Raises:
            SaganError: the images have another size or dtype, or a map is not finite.
        """
        return self.scores_and_attention(images)[1]

    @torch.no_grad()
    def scores(self, images: UInt8Array) -> Float32Array:
        """Return D's logits of images: uint8 (num, H, W, C) -> float32 (num, K).

        There is one for each label that an image could have; K = 1 for an unconditional model.
        Higher is more real. The scale depends on the loss that D was trained with.

        Raises:
            SaganError: the images have another size or dtype.
        """
        with _evaluating(self):
            logits = [self.class_logits(self.embed(batch)) for batch in self._inputs(images)]
        return torch.cat(logits).float().cpu().numpy()

    @torch.no_grad()
    def scores_and_attention(self, images: UInt8Array) -> tuple[Float32Array, AttentionMaps]:
        """Return `scores` and `attention` of images, uint8 (num, H, W, C), from one pass.

        Raises:
            SaganError: the images have another size or dtype, or a map is not finite.
        """
        logits, maps = [], []
        with _evaluating(self), recorded_maps(self.attention_layers()) as recorded:
            for batch in self._inputs(images):
                logits.append(self.class_logits(self.embed(batch)))
                maps.append(_to_numpy(recorded))
        return torch.cat(logits).float().cpu().numpy(), _concatenated(maps)

    def _inputs(self, images: UInt8Array) -> Iterator[Tensor]:
        """Yield the network's inputs, batch by batch: (B, C, H, W) in [-1, 1]."""
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.shape:
            raise SaganError(
                f"the discriminator takes uint8 images of shape (num, "
                f"{', '.join(map(str, self.shape[:]))}), not {images.dtype} {images.shape}: resize "
                "them first"
            )
        device = _device(self)
        for part in _batches(len(images)):
            yield to_float(torch.from_numpy(images[part].copy()).to(device))


def _named(network: str, layers: nn.ModuleDict) -> dict[str, SelfAttention2d]:
    return {
        f"{network}.attention_{size}": layer
        for size, layer in layers.items()
        if isinstance(layer, SelfAttention2d)
    }


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _batches(num: int) -> Iterator[slice]:
    """Return consecutive slices of `num` images; one empty slice if there are none."""
    return (
        slice(start, min(start + BATCH_SIZE, num)) for start in range(0, max(num, 1), BATCH_SIZE)
    )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Set evaluation mode and full float32 within the context, whatever the caller set.

    On exit every submodule is back in its own mode.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with exact_float32(), autocast(_device(module), torch.float32):
            yield
    finally:
        for part, training in modes:
            part.training = training


def _to_numpy(maps: dict[str, Tensor]) -> AttentionMaps:
    """Copy maps to NumPy.

    Raises:
        DivergedError: one is not finite, as where finite but huge weights overflow.
    """
    arrays = {name: attention.float().cpu().numpy() for name, attention in maps.items()}
    for name, attention in arrays.items():
        if not np.isfinite(attention.sum()):
            raise DivergedError(
                f"the attention of {name} is not finite: the model's weights are damaged, or its "
                "training has diverged; use another model or an earlier checkpoint"
            )
    return arrays


def _concatenated(parts: list[AttentionMaps]) -> AttentionMaps:
    if len(parts) == 1:
        return parts[0]  # without a copy: maps of large images are large
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
