"""Start a training from a trained model: what a new network takes from it, and in which place.

Both the new G and its average start from the model's average, also where a run has raw weights: a
run and the file that was exported from it then start the same training. D is taken with the vectors
u and v of its normalized layers. Optimizers start fresh.

Classes are matched by name. A class that the model does not have starts from the mean over those
that it has, in every table that has a row for each class. Layers are matched by name, or across
resolutions by the block that they are in; those of another shape keep their initial values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeAlias

import torch

from sagan.build import build_meta_networks
from sagan.config import Config, parse_config, replaced, resolve
from sagan.errors import SaganError
from sagan.images.shape import ImageShape
from sagan.model import Model
from sagan.nn.base import DiscriminatorBase
from sagan.nn.channels import (
    neighboring_shapes,
    residual_discriminator_sizes,
    residual_generator_sizes,
)
from sagan.run.checkpoint import StateTensors, tensors_sha256
from sagan.run.directory import StartRecord
from sagan.training.class_rows import discriminator_for_classes, generator_for_classes
from sagan.training.tensor_names import block_of, layer_of

Shapes: TypeAlias = dict[str, torch.Size]

# With fewer images augmentation is on unless it is set: D would learn them by heart.
SMALL_SET = 10_000

# These settings describe the networks, so they come from the model; the others say how to train.
# `conditional` is not among them: classes may come and go.
ARCHITECTURE = (
    "family", "resolution", "colors", "channels_g", "channels_d", "latent_size", "attention_g",
    "attention_d", "attention_form", "attention_scores", "attention_block", "spectral_norm_g",
    "spectral_norm_d", "spectral_norm_eps", "rectified_skip", "init",
)  # fmt: skip
FIXED = (
    "family", "channels_g", "channels_d", "latent_size", "spectral_norm_g", "spectral_norm_d",
)  # fmt: skip
# How to update the networks: without a preset, as the model was trained.
RECIPE = (
    "loss", "batch_size", "accumulation", "d_steps", "lr_g", "lr_d", "lr_decay", "beta1", "beta2",
    "ema_half_life", "flip", "augment", "augment_with", "class_loss", "reuse_fakes",
)  # fmt: skip
# A start from a model shows results, and overfits, much sooner than one from scratch.
FEW_STEPS: dict[str, Any] = dict(
    steps=2000, checkpoint_every=250, sample_every=100, log_every=25, evaluate_every=250
)
# New classes need high rates to become different soon: docs/experiments.md. A projected family has
# such rates anyway, and a gradient penalty needs its several D steps.
FAST: dict[str, Any] = dict(d_steps=1, lr_g=4e-4, lr_d=8e-4)


@dataclass(frozen=True)
class Start:
    """What a training takes from a model.

    Attributes:
        tensors: of "generator", "ema" and "discriminator", by the names that they have in the new
            networks; what is not among them keeps its initial value.
        record: which these are, for config.json.
    """

    tensors: dict[str, StateTensors]
    record: StartRecord


def start_config(model: Model, preset: str | None, overrides: Mapping[str, Any]) -> Config:
    """Return the configuration of a training that starts from a model.

    Args:
        model: where the networks' settings come from.
        preset: where the other settings come from; None for those that the model was trained with,
            but `FAST` and for fewer steps.
        overrides: fields that replace either.

    Raises:
        SaganError: the preset or a field is unknown, a value is invalid, the preset is for another
            family, or the model's weights do not fit the networks that the overrides ask for.
    """
    own = model.config.model_dump()
    recipe = {key: own[key] for key in RECIPE} | FEW_STEPS
    if own["loss"] != "wasserstein-gp" and own["family"] != "projected":
        recipe |= FAST
    if preset is not None:
        recipe = resolve(preset).model_dump(exclude={"conditional", "freeze_d"})
        if recipe["family"] != own["family"]:
            raise SaganError(
                f"preset '{preset}' trains family {recipe['family']}, but '{model.origin}' is of "
                f"family {own['family']}: leave --preset out"
            )
    networks = {key: own[key] for key in ARCHITECTURE}
    config = parse_config(replaced(recipe | networks, overrides))
    for key in FIXED:
        value = getattr(config, key)
        if value != own[key]:
            raise SaganError(
                f"{key}={_as_set(value)} does not fit '{model.origin}', which has "
                f"{key}={_as_set(own[key])}: leave it out, or train without --from"
            )
    _check_neighbors(model.config.shape, config.shape, model.origin)
    return config


def _check_neighbors(old: ImageShape, new: ImageShape, origin: str) -> None:
    """Check that the networks for two shapes have equally many blocks, or one more."""
    if abs(len(residual_generator_sizes(old)) - len(residual_generator_sizes(new))) > 1:
        near = [str(shape.resolution) for shape in neighboring_shapes(old)]
        raise SaganError(
            f"resolution={new.resolution} is too far from the {old.resolution} pixels of "
            f"'{origin}': give {' or '.join(near)}"
        )


def _as_set(value: object) -> str:
    """Return a value as --set takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def start_from(model: Model, config: Config, classes: Sequence[str]) -> Start:
    """Return what networks of this configuration take from a model.

    Args:
        model: the model to start from.
        config: the new training's configuration, with `conditional` decided.
        classes: names of the new labels; empty for an unconditional model.

    Raises:
        SaganError: the model is damaged, has no discriminator, or no block of it fits; or a block
            to be frozen would not be the model's.
    """
    read = _read_checked(model)
    adapted = {
        "generator": generator_for_classes(_float32(read["generator"]), model.classes, classes),
        "discriminator": discriminator_for_classes(
            _float32(read["discriminator"]), model.classes, classes, config.spectral_norm_eps
        ),
    }
    built = build_meta_networks(config, len(classes))
    sizes = (residual_generator_sizes, residual_discriminator_sizes)
    taken: dict[str, StateTensors] = {}
    fresh: list[str] = []
    for (network, tensors), new, sizes_at in zip(adapted.items(), built, sizes, strict=True):
        shapes = _shapes(new.state_dict())
        names = {name: name for name in shapes}
        has_blocks = any(name.startswith("blocks.") for name in shapes)
        if config.resolution != model.config.resolution and has_blocks:
            at_both = sizes_at(model.config.shape), sizes_at(config.shape)
            names = match_blocks(_shapes(tensors), shapes, *at_both)
        taken[network] = take(tensors, shapes, names)
        _check_any_block(taken[network], model, config)
        fresh += [f"{network}.{layer}" for layer in _layers(shapes.keys() - taken[network].keys())]
    _check_frozen(config.freeze_d, built[1], taken["discriminator"], model.origin)
    record = StartRecord(
        model=model.origin,
        step=model.step,
        sha256={network: tensors_sha256(tensors) for network, tensors in read.items()},
        taken={
            network: (len(taken[network]), len(new.state_dict()))
            for network, new in zip(taken, built, strict=True)
        },
        fresh=tuple(fresh),
        new_classes=tuple(name for name in classes if name not in model.classes),
    )
    return Start({**taken, "ema": taken["generator"]}, record)


def _read_checked(model: Model) -> dict[str, StateTensors]:
    """Read both networks' tensors, once, and refuse those that could not be used for samples."""
    read = {name: model.read(name) for name in ("ema", "discriminator")}
    if not read["discriminator"]:
        raise SaganError(f"'{model.origin}' has no discriminator: start from a model with both")
    as_read = replace(model, read=read.__getitem__)
    as_read.generator()
    as_read.discriminator()
    return {"generator": read["ema"], "discriminator": read["discriminator"]}


def _float32(tensors: StateTensors) -> StateTensors:
    """Return weights as they are trained: a file may have them in float16."""
    counter = "num_batches_tracked"
    return {name: t if name.endswith(counter) else t.float() for name, t in tensors.items()}


def _shapes(tensors: StateTensors) -> Shapes:
    return {name: tensor.shape for name, tensor in tensors.items()}


def match_blocks(
    old: Shapes, new: Shapes, old_sizes: Sequence[int], new_sizes: Sequence[int]
) -> dict[str, str]:
    """Match networks of two resolutions, of which one may have a block more.

    The additional block is where most of the others then fit. It follows from the layouts: from 64
    to 128 pixels it is the one next to the latents in G and the last one in D.

    Args:
        old: shapes by name in the network to take from.
        new: shapes by name in the new network.
        old_sizes: side of the feature map after each of the old network's blocks.
        new_sizes: likewise of the new network.

    Returns:
        {name in the new network: name in the old one}, as far as there is one.
    """
    old_blocks, new_blocks = (
        [_inside(shapes, f"blocks.{i}.") for i in range(len(sizes))]
        for shapes, sizes in ((old, old_sizes), (new, new_sizes))
    )
    fewer, more = sorted((len(old_blocks), len(new_blocks)))
    pairings = []
    # Those without the first block come first. With equally many blocks there is one choice.
    for chosen in reversed(list(combinations(range(more), fewer))):
        ends = (chosen, range(fewer))  # of the longer network, of the shorter one
        pairs = zip(*(ends if len(new_blocks) == more else ends[::-1]), strict=True)
        pairings.append({i: j for i, j in pairs if new_blocks[i] == old_blocks[j]})
    blocks = max(pairings, key=len)
    folders = {f"blocks.{i}.": f"blocks.{j}." for i, j in blocks.items()}
    for i, j in blocks.items():  # attention follows the first block of its size
        if new_sizes.index(new_sizes[i]) == i and old_sizes.index(old_sizes[j]) == j:
            folders[f"self_attention.{new_sizes[i]}."] = f"self_attention.{old_sizes[j]}."
    names = {}
    for name in new:
        folder = block_of(name)
        if folder in folders:
            names[name] = folders[folder] + name.removeprefix(folder)
        elif not folder:
            names[name] = name
    return names


def _inside(shapes: Shapes, folder: str) -> Shapes:
    return {
        name.removeprefix(folder): shape
        for name, shape in shapes.items()
        if name.startswith(folder)
    }


def take(tensors: StateTensors, shapes: Shapes, names: Mapping[str, str]) -> StateTensors:
    """Return the tensors that fit, by their new names: whole layers, whole attention blocks.

    Args:
        tensors: the old network's.
        shapes: shapes by name in the new network.
        names: {name in the new network: name in the old one}.
    """
    fits = {
        name: name in names and names[name] in tensors and tensors[names[name]].shape == shape
        for name, shape in shapes.items()
    }
    incomplete = {layer_of(name) for name, fit in fits.items() if not fit}
    return {name: tensors[names[name]] for name in shapes if layer_of(name) not in incomplete}


def _layers(names: set[str]) -> list[str]:
    """Return the blocks and layers that these tensors are in, each once."""
    return sorted({block_of(name).rstrip(".") or layer_of(name) for name in names})


def _check_any_block(taken: StateTensors, model: Model, config: Config) -> None:
    if not any(name.startswith(("blocks.", "layers.", "heads.")) for name in taken):
        raise SaganError(
            f"no block of '{model.origin}', for {model.config.resolution} pixels, fits networks "
            f"for {config.resolution}: give --set resolution={model.config.resolution}, or "
            f"another model"
        )


def _check_frozen(
    num: int, discriminator: DiscriminatorBase, taken: StateTensors, origin: str
) -> None:
    """Refuse to freeze blocks that have random weights."""
    frozen = discriminator.first_blocks(num)
    for name, module in discriminator.named_modules():
        names = {f"{name}.{inner}" for inner in module.state_dict()}
        if module in frozen and not names <= taken.keys():
            raise SaganError(
                f"freeze_d={num} would freeze D's {name}, which '{origin}' does not have: give a "
                "smaller freeze_d"
            )
