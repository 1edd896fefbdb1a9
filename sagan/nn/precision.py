"""What convolutions and matrix products compute in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from sagan.errors import SaganError

Setting = TypeVar("Setting")


def resolve_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype of convolutions and matrix products: "auto", "float32" or "bfloat16".

    "auto" takes bfloat16 where the processor multiplies it natively, else float32.

    Raises:
        SaganError: bfloat16 on a processor where it would be slower than float32.
    """
    native = _multiplies_bfloat16(device)
    if wanted == "bfloat16" and not native:
        raise SaganError(
            f"this {device.type} has no native bfloat16, which would only make it slower: "
            "use --set precision=float32"
        )
    return torch.bfloat16 if native and wanted != "float32" else torch.float32


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Convolutions and matrix products in this dtype within; nothing changes for float32."""
    return torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)


def without_autocast(operand: Tensor) -> AbstractContextManager[None]:
    """Compute in the operand's own dtype; the meta device knows no autocast to begin with."""
    if operand.is_meta:
        return nullcontext()
    return torch.autocast(operand.device.type, enabled=False)


@contextmanager
def exact_float32(enabled: bool = True) -> Iterator[None]:
    """Compute float32 convolutions and matrix products in full float32 within the context.

    Otherwise convolutions on GPUs use TensorFloat-32, cuDNN's default, which keeps ten bits of the
    mantissa, and so may matrix products if the caller configured torch so. The caller's settings
    are restored on exit.

    Args:
        enabled: whether to do anything, as in `torch.autocast`.
    """
    if not enabled:
        yield
        return
    backends: Any = torch.backends  # whose stubs lack some of these
    places = (
        backends.cuda.matmul,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.cudnn.conv,
        backends.cudnn.rnn,
    )
    before = [place.fp32_precision for place in places]
    # The older switches: set as well, since torch complains where they say another thing.
    products = _unless_mixed(torch.get_float32_matmul_precision)
    convolutions = _unless_mixed(lambda: backends.cudnn.allow_tf32)
    _set_older(products and "highest", convolutions and False)
    for place in places:
        place.fp32_precision = "ieee"
    try:
        yield
    finally:
        _set_older(products, convolutions)
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def _unless_mixed(read: Callable[[], Setting]) -> Setting | None:
    """What an older switch says; None where torch does not tell, because newer ones were used."""
    try:
        return read()
    except RuntimeError:
        return None


def _set_older(products: str | None, convolutions: bool | None) -> None:
    if products is not None:
        torch.set_float32_matmul_precision(products)
    if convolutions is not None:
        torch.backends.cudnn.allow_tf32 = convolutions
