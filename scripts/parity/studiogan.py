"""PyTorch-StudioGAN: src/models/resnet.py with the modules that src/config.py would choose."""

import contextlib
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import nn

from parity.case import Case, import_from, stand_in

MARK = "src/models/resnet.py"


def cases(checkout: Path, small: bool) -> Iterator[Case]:
    """Yield pairs of networks: all layouts, with and without labels; if `small`, the smallest."""
    stand_in("utils.misc", dummy_context_mgr=contextlib.nullcontext)  # of its many imports, no need
    stand_in("utils").__path__ = [str(checkout / "src" / "utils")]
    ops, resnet = import_from(checkout / "src", "utils.ops", "models.resnet")
    if small:
        yield case(ops, resnet, 32, 4, 3, [2], [1])
        return
    yield case(ops, resnet, 32, 64, 10, [2], [1])
    yield case(ops, resnet, 32, 8, 3, [2], [1], normalized=False)
    yield case(ops, resnet, 32, 8, 0, [1], [2])
    yield case(ops, resnet, 64, 8, 7, [3], [1])
    yield case(ops, resnet, 128, 8, 5, [4], [1])
    yield case(ops, resnet, 256, 8, 3, [4, 3], [2])


def case(
    ops: Any,
    resnet: Any,
    size: int,
    width: int,
    num_classes: int,
    attention_g: list[int],
    attention_d: list[int],
    normalized: bool = True,
) -> Case:
    """Build the networks of a configuration like src/configs/*/SAGAN.yaml.

    Without normalization, its D has batch norm instead and is left out.
    """
    g = "sn" if normalized else ""
    modules = SimpleNamespace(
        g_conv2d=getattr(ops, f"{g}conv2d"),
        g_linear=getattr(ops, f"{g}linear"),
        g_embedding=ops.sn_embedding if normalized else ops.embedding,
        g_bn=ops.ConditionalBatchNorm2d if num_classes else ops.batchnorm_2d,
        g_act_fn=nn.ReLU(inplace=True),
        d_conv2d=ops.snconv2d,
        d_linear=ops.snlinear,
        d_embedding=ops.sn_embedding,
        d_bn=ops.batchnorm_2d,
        d_act_fn=nn.ReLU(inplace=True),
    )
    model = SimpleNamespace(info_type="N/A", g_info_injection="N/A")
    latent_size = 8 if width < 8 else 128
    common: dict[str, Any] = dict(mixed_precision=False, MODULES=modules)
    # Until January 2022 G did not take MODEL.
    newer = {"MODEL": model} if "MODEL" in signature(resnet.Generator).parameters else {}
    generator = resnet.Generator(
        z_dim=latent_size, g_shared_dim="N/A", img_size=size, g_conv_dim=width, apply_attn=True,
        attn_g_loc=attention_g, g_cond_mtd="cBN" if num_classes else "W/O",
        num_classes=num_classes, g_init="ortho", g_depth="N/A", **common, **newer,
    )  # fmt: skip
    discriminator = resnet.Discriminator(
        img_size=size, d_conv_dim=width, apply_d_sn=True, apply_attn=True,
        attn_d_loc=attention_d, d_cond_mtd="PD" if num_classes else "W/O",
        aux_cls_type="W/O", d_embed_dim="N/A", normalize_d_embed=False, num_classes=num_classes,
        d_init="ortho", d_depth="N/A", **common, **newer,
    )  # fmt: skip
    kind = f"{num_classes} classes" if num_classes else "no labels"
    return Case(
        name=f"{size} pixels, width {width}, {kind}{'' if normalized else ', not normalized'}",
        generator=generator,
        discriminator=discriminator if normalized else None,
        generate=generator,
        judge=lambda images, labels: discriminator(images.clone(), labels)["adv_output"],
        resolution=size,
        latent_size=latent_size,
        num_classes=num_classes,
        saved=_saved,
    )


def _saved(generator: Any, discriminator: Any) -> tuple[Any, Any]:
    """As src/worker.py saves them, with numbers of NumPy among others."""
    progress = {"step": 7, "best_fid": np.float64(12.5), "topk": "initialize", "epoch": 1}
    return {"state_dict": generator}, {"state_dict": discriminator, **progress}
