"""float32 means float32 if it is asked for, and the caller's settings are restored."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import backends

from sagan.errors import SaganError
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.precision import exact_float32, resolve_precision, times_scalar
from sagan.nn.resnet import Generator

PLACES = (
    backends.cuda.matmul,
    backends.mkldnn.matmul,
    backends.mkldnn.conv,  # type: ignore[attr-defined]
    backends.cudnn.conv,  # type: ignore[attr-defined]
    backends.cudnn.rnn,  # type: ignore[attr-defined]
    backends.cudnn,
    backends.mkldnn,
    backends,
)
# Settings of callers, by the older switches and by those that torch has had since 2.9.
CALLERS: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "older products": lambda: setattr(backends.cuda.matmul, "allow_tf32", True),
    "older convolutions": lambda: setattr(backends.cudnn, "allow_tf32", False),
    "all": lambda: setattr(backends, "fp32_precision", "tf32"),
    "products": lambda: setattr(backends.cuda.matmul, "fp32_precision", "tf32"),
    "cudnn": lambda: setattr(backends.cudnn, "fp32_precision", "tf32"),
    "convolutions": lambda: setattr(PLACES[3], "fp32_precision", "ieee"),
}


def precisions() -> list[str]:
    return [place.fp32_precision for place in PLACES]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = precisions()
    yield
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = True
    for place, precision in reversed(list(zip(PLACES, before, strict=True))):
        place.fp32_precision = precision


@pytest.mark.parametrize("caller", CALLERS)
def test_exact_float32_overrides_and_then_restores_the_callers_settings(caller: str) -> None:
    CALLERS[caller]()
    before = precisions()
    with exact_float32(), exact_float32():
        assert precisions()[:5] == ["ieee"] * 5
        assert torch.get_float32_matmul_precision() == "highest"
    assert precisions() == before


def test_other_settings_of_cudnn_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.cudnn, "deterministic", True)
    with exact_float32():
        assert backends.cudnn.deterministic


@pytest.mark.parametrize("caller", CALLERS)
def test_samples_do_not_depend_on_the_callers_settings(caller: str) -> None:
    generator = Generator(32, 8, latent_size=8, attention=AttentionSpec((16,)))
    expected = generator.sample(2)
    CALLERS[caller]()
    assert (generator.sample(2) == expected).all()


# ---------------------------------------------------------------------------------------------
# What a setting means on a device

GPUS = {
    "Tesla P100-PCIE-16GB": ((6, 0), "float32"),
    "NVIDIA GeForce GTX 1080": ((6, 1), "float32"),
    "Tesla V100-SXM2-16GB": ((7, 0), "float16"),
    "Xavier": ((7, 2), "float16"),
    "Tesla T4": ((7, 5), "float16"),
    "NVIDIA T4G": ((7, 5), "float16"),
    "NVIDIA GeForce RTX 2080 Ti": ((7, 5), "float16"),
    "Quadro RTX 5000": ((7, 5), "float16"),
    "NVIDIA GeForce GTX 1660": ((7, 5), "float32"),  # Turing without tensor cores
    "NVIDIA T400": ((7, 5), "float32"),
    "NVIDIA A100-SXM4-40GB": ((8, 0), "bfloat16"),
    "NVIDIA H200": ((9, 0), "bfloat16"),
}


@pytest.mark.parametrize("name", GPUS)
def test_auto_is_float16_on_gpus_with_tensor_cores_but_without_bfloat16(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    capability, expected = GPUS[name]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    device = torch.device("cuda", 0)
    assert resolve_precision("auto", device) == getattr(torch, expected)
    for named in ("float32", "float16"):
        assert resolve_precision(named, device) == getattr(torch, named)
    if capability < (8, 0):
        with pytest.raises(SaganError, match="precision=float32"):
            resolve_precision("bfloat16", device)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_float16_is_for_any_device_that_it_is_asked_for_on(device: str) -> None:
    assert resolve_precision("float16", torch.device(device)) == torch.float16
    assert resolve_precision("auto", torch.device(device)) != torch.float16


def test_gammas_gradient_in_float16_is_finite_where_only_its_sum_is_too_large() -> None:
    gamma, x = torch.zeros(()).requires_grad_(), torch.full((4, 64, 8, 8), 10.0).half()
    times_scalar(x, gamma).backward(torch.ones_like(x))
    assert gamma.grad is not None
    assert gamma.grad.item() == 10 * x.numel()  # 163,840: float16 ends at 65,504


def test_only_in_float16_a_scalars_gradient_is_summed_in_another_order() -> None:
    gamma, x = torch.tensor(0.3).requires_grad_(), torch.randn(4, 8, 8, 8)
    result = times_scalar(x, gamma)
    assert torch.equal(result, gamma * x)
    assert times_scalar(x.half(), gamma).dtype == torch.float16
    own, torchs = (torch.autograd.grad(y, gamma, x) for y in (result, gamma * x))
    assert torch.equal(*own, *torchs)
