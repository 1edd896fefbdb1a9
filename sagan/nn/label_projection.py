"""The last layer of a discriminator: l(f) + <e(label), f> (Miyato & Koyama 2018, equation 3)."""

from torch import Tensor, nn


def label_weight(
    linear: nn.Linear, embedding: nn.Embedding | None, labels: Tensor | None
) -> Tensor:
    """Return the weight whose dot product with features is the logit, up to the linear bias.

    Args:
        linear: l, from D features to one logit.
        embedding: e; None for an unconditional network.
        labels: int64 (B,), or None for an unconditional network.

    Returns:
        (B, D), or (1, D) without labels.
    """
    weight: Tensor = linear.weight
    return weight + embedding(labels) if embedding is not None else weight


def class_logits(linear: nn.Linear, embedding: nn.Embedding | None, features: Tensor) -> Tensor:
    """Features (B, D) -> logits (B, K), one for each label; K = 1 for an unconditional network."""
    logits: Tensor = linear(features)
    return logits + features @ embedding.weight.T if embedding is not None else logits
