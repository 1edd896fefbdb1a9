"""Tensors of a network for other classes: what a start from a model makes of its own.

Classes are matched by name. A class that the model does not have starts from the mean over those
that it has, in every table that has a row for each class.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sagan.nn.spectral_norm import apply_spectral_norm
from sagan.run.checkpoint import StateTensors
from sagan.training.tensor_names import NORMALIZED, layer_of


def generator_for_classes(
    tensors: StateTensors, old: Sequence[str], new: Sequence[str]
) -> StateTensors:
    """Return a generator's tensors for other classes.

    Gain and bias of conditional batch norm have a row for each class; without classes they are
    those of ordinary batch norm.

    Args:
        tensors: of a network for the old classes.
        old: names of its classes; empty if it is unconditional.
        new: names of the classes to come; empty for an unconditional network.
    """
    adapted: StateTensors = {}
    for name, tensor in tensors.items():
        norm, _, part = name.rpartition(".norm.")
        if not old and new and norm and part in ("weight", "bias"):
            table = "gain" if part == "weight" else "bias"
            adapted[f"{norm}.{table}.weight"] = tensor.expand(len(new), -1).clone()
        elif old and name.endswith((".gain.weight", ".bias.weight")):
            norm, table, _ = name.rsplit(".", 2)
            if new:
                adapted[name] = rows_by_name(tensor, old, new)
            else:
                part = "weight" if table == "gain" else "bias"
                adapted[f"{norm}.norm.{part}"] = tensor.mean(dim=0)
        else:
            adapted[name] = tensor
    return adapted


def discriminator_for_classes(
    tensors: StateTensors, old: Sequence[str], new: Sequence[str], eps: float
) -> StateTensors:
    """Return a discriminator's tensors for other classes.

    Its logit is <l + e(label), f> + b with the last layer's weight l and the embedding e, both
    normalized. Without classes before, every e starts as a copy of l, and without classes after, l
    becomes l + the mean of e: images keep their order by logit. A projected discriminator has both
    in each head, and it may have a classifier with a row for each class.

    Args:
        tensors: as for `generator_for_classes`.
        old: likewise.
        new: likewise.
        eps: of spectral normalization.
    """
    if list(old) == list(new):
        return tensors
    adapted = dict(tensors)
    layers = {layer_of(name) for name in tensors}
    heads = {layer.removesuffix("linear") for layer in layers if layer.split(".")[-1] == "linear"}
    for head in heads:
        own = {name.removeprefix(head): t for name, t in tensors.items() if name.startswith(head)}
        for name in own:
            del adapted[head + name]
        changed = _head_for_classes(own, old, new, eps)
        adapted |= {head + name: tensor for name, tensor in changed.items()}
    for name in tensors.keys() & {"classifier.weight", "classifier.bias"}:
        table = adapted.pop(name)
        if new:
            adapted[name] = rows_by_name(table, old, new)
    return adapted


def _head_for_classes(
    tensors: StateTensors, old: Sequence[str], new: Sequence[str], eps: float
) -> StateTensors:
    adapted = {name: t for name, t in tensors.items() if layer_of(name) != "embedding"}
    if not new:
        weight = _weight(tensors, "linear") + _weight(tensors, "embedding").mean(dim=0)
        return adapted | _stored(tensors, "linear", weight, eps)
    if not old:
        weight = _weight(tensors, "linear").expand(len(new), -1).clone()
        return adapted | _stored(tensors, "embedding", weight, eps, like="linear")
    if sorted(old) == sorted(new):  # the same singular vectors, but for the order of their rows
        order = [list(old).index(name) for name in new]
        by_row = {
            f"embedding{end}" for end in (".weight", f"{NORMALIZED}.original", f"{NORMALIZED}.0.u")
        }
        return {name: t[order] if name in by_row else t for name, t in tensors.items()}
    raw = tensors.get("embedding.weight", tensors.get(f"embedding{NORMALIZED}.original"))
    assert raw is not None
    return adapted | _stored(tensors, "embedding", rows_by_name(raw, old, new), eps)


def rows_by_name(table: Tensor, old: Sequence[str], new: Sequence[str]) -> Tensor:
    """Return a table (old classes, C) with a row for each new class: its own, else the mean."""
    mean = table.mean(dim=0)
    return torch.stack([table[old.index(name)] if name in old else mean for name in new])


def _weight(tensors: StateTensors, layer: str) -> Tensor:
    """Return a layer's weight, normalized if it is."""
    if f"{layer}.weight" in tensors:
        return tensors[f"{layer}.weight"]
    raw, u, v = (tensors[f"{layer}{NORMALIZED}.{part}"] for part in ("original", "0.u", "0.v"))
    return raw / torch.dot(u, torch.mv(raw, v))


def _stored(
    tensors: StateTensors, layer: str, weight: Tensor, eps: float, like: str = ""
) -> StateTensors:
    """Return the tensors of a layer with this weight: normalized, if the layer `like` is."""
    if f"{like or layer}.weight" in tensors:
        return {f"{layer}.weight": weight}
    table = nn.Embedding.from_pretrained(weight)
    apply_spectral_norm(table, (nn.Embedding,), eps)
    return {f"{layer}.{name}": tensor for name, tensor in table.state_dict().items()}
