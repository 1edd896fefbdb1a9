"""Self-attention against a float64 oracle that shares no code with it, and its published claims."""

import copy
import pickle
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sagan.nn import attention_kernels
from sagan.nn.attention import FORMS, SelfAttention2d, recorded_maps
from sagan.nn.attention_kernels import BACKENDS, AttentionKernel, select_backend
from sagan.nn.spectral_norm import is_spectrally_normalized

UNPOOLED = ["full", "paper"]
IN_BLOCKS = ["eager", "chunked"]


# --- the oracle -------------------------------------------------------------------------------


def oracle_parameters(layer: SelfAttention2d) -> dict[str, Tensor]:
    """Return raw parameters as float64 leaves: "query.weight", "query.bias", ..., "gamma"."""
    return {
        name.replace("parametrizations.weight.original", "weight"): parameter.detach()
        .double()
        .requires_grad_()
        for name, parameter in layer.named_parameters()
    }


def oracle(
    x: Tensor, parameters: dict[str, Tensor], form: str, spectral_norm: bool
) -> tuple[Tensor, Tensor]:
    """Return y and the map in float64: convolutions as matrices, pooling by loops, softmax by hand.

    The spectral norm is from an SVD, which a converged power iteration must equal.
    """

    def convolve(name: str, maps: Tensor) -> Tensor:
        matrix = parameters[f"{name}.weight"][:, :, 0, 0]
        if spectral_norm:
            matrix = matrix / torch.linalg.svdvals(matrix)[0]
        result = torch.einsum("oc,bchw->bohw", matrix, maps)
        if f"{name}.bias" in parameters:
            result = result + parameters[f"{name}.bias"][None, :, None, None]
        return result

    def pool(maps: Tensor) -> Tensor:
        rows = []
        for i in range(maps.shape[2] // 2):
            row = []
            for j in range(maps.shape[3] // 2):
                corner = maps[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                top = torch.maximum(corner[:, :, 0, 0], corner[:, :, 0, 1])
                row.append(torch.maximum(top, torch.maximum(corner[..., 1, 0], corner[..., 1, 1])))
            rows.append(torch.stack(row, dim=-1))
        return torch.stack(rows, dim=-2)

    batch, channels, height, width = x.shape
    query, key, value = (convolve(name, x) for name in ("query", "key", "value"))
    if form == "pooled":
        key, value = pool(key), pool(value)
    query = query.reshape(batch, -1, height * width)
    key = key.reshape(batch, query.shape[1], -1)
    value = value.reshape(batch, -1, key.shape[2])
    if "scale" in parameters:  # cosine scores
        query, key = (t / t.square().sum(dim=1, keepdim=True).sqrt() for t in (query, key))
        query = parameters["scale"] * query
    scores = torch.einsum("bdn,bdm->bnm", query, key)
    weights = torch.exp(scores - scores.max(dim=2, keepdim=True).values.detach())
    attention = weights / weights.sum(dim=2, keepdim=True)
    o = torch.einsum("bnm,bcm->bcn", attention, value).reshape(batch, -1, height, width)
    if form != "full":
        o = convolve("output", o)
    assert o.shape[1] == channels
    return parameters["gamma"] * o + x, attention


def make_layer(
    channels: int = 16,
    form: Any = "full",
    spectral_norm: bool = False,
    backend: Any = "eager",
    gamma: float = 0.7,
    seed: int = 0,
    scores: Any = "dot",
) -> SelfAttention2d:
    """Return a layer with exact singular vectors as u and v, and a map far from uniform."""
    torch.manual_seed(seed)
    layer = SelfAttention2d(
        channels, form, spectral_norm=spectral_norm, backend=backend, scores=scores
    )
    with torch.no_grad():
        layer.gamma.fill_(gamma)
        if not spectral_norm:
            layer.query.weight.mul_(2)
        for convolution in layer.children():
            if spectral_norm and isinstance(convolution, nn.Conv2d):
                norm = convolution.parametrizations.weight
                left, _, right = torch.linalg.svd(norm.original[:, :, 0, 0].double())
                norm[0].u.copy_(left[:, 0])
                norm[0].v.copy_(right[0])
    return layer


def random_map(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, name: str = "") -> None:
    """Bound the largest difference relative to the largest expected value."""
    assert actual.shape == expected.shape, name
    expected = expected.double()
    error = (actual.double() - expected).abs().max() / expected.abs().max().clamp_min(1e-12)
    assert error < tolerance, f"{name}: {error:.2e}"


def assert_matches_oracle(layer: SelfAttention2d, x: Tensor, tolerance: float) -> None:
    """Compare y and every gradient."""
    parameters = oracle_parameters(layer)
    x64 = x.double().requires_grad_()
    normalized = is_spectrally_normalized(layer.query)
    expected, _ = oracle(x64, parameters, layer.form, normalized)
    cotangent = random_map(*x.shape, seed=2)
    expected_gradients = torch.autograd.grad(
        (expected * cotangent.double()).sum(), [x64, *parameters.values()]
    )

    x = x.clone().requires_grad_()
    y = layer(x)
    gradients = torch.autograd.grad((y * cotangent).sum(), [x, *layer.parameters()])

    assert y.dtype == torch.float32
    assert_close(y, expected, tolerance, "y")
    # A bias of the keys shifts all scores of a row equally, so its true gradient is 0. Therefore
    # every gradient also has an absolute tolerance, on the scale of the queries' bias.
    scale = max(gradient.abs().max().item() for gradient in expected_gradients[1:])
    for name, gradient, truth in zip(
        ["x", *parameters], gradients, expected_gradients, strict=True
    ):
        error = (gradient.double() - truth).abs().max()
        assert error < tolerance * (truth.abs().max() + 0.1 * scale), f"gradient of {name}: {error}"


# --- parity ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 16, 4, 6), (1, 20, 5, 7), (3, 8, 2, 9)])
@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_forward_and_every_gradient_equal_the_float64_oracle(
    form: str, spectral_norm: bool, backend: str, shape: tuple[int, ...]
) -> None:
    layer = make_layer(shape[1], form, spectral_norm, backend)
    assert_matches_oracle(layer, random_map(*shape), tolerance=2e-5)


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_cosine_scores_and_every_gradient_equal_the_float64_oracle(
    form: str, spectral_norm: bool, backend: str
) -> None:
    layer = make_layer(24, form, spectral_norm, backend, scores="cosine")
    assert_matches_oracle(layer, random_map(2, 24, 4, 6), tolerance=2e-5)


@pytest.mark.parametrize("form", ["paper", "pooled"])
def test_cosine_maps_do_not_depend_on_how_large_the_features_are(form: str) -> None:
    x = random_map(2, 24, 6, 6)
    cosine, dot = (make_layer(24, form, scores=scores) for scores in ("cosine", "dot"))
    assert_close(cosine.attention(100 * x), cosine.attention(x), 1e-4)
    assert cosine.attention(x).max() < np.exp(2 * 4) / cosine.attention(x).shape[2]
    assert dot.attention(100 * x).max() > 0.99
    with pytest.raises(ValueError, match="choose from dot, cosine"):
        SelfAttention2d(24, scores="angle")  # type: ignore[arg-type]


@pytest.fixture(params=["images", "rows", "one row"])
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute maps of 24 x 24 for 5 images in blocks of 2 images, 7 rows or 1 row."""
    size, rows = {"images": (2 * 24 * 24, 1), "rows": (1, 7), "one row": (1, 1)}[request.param]
    monkeypatch.setattr(attention_kernels, "BLOCK_ENTRIES", size)
    monkeypatch.setattr(attention_kernels, "MIN_BLOCK_ROWS", rows)
    monkeypatch.setattr(attention_kernels, "MAX_AUTOGRAD_ENTRIES", 0)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("backend", IN_BLOCKS)
@pytest.mark.parametrize("form", FORMS)
def test_computing_in_blocks_changes_neither_values_nor_gradients(form: str, backend: str) -> None:
    layer = make_layer(16, form, backend=backend)
    assert_matches_oracle(layer, random_map(5, 16, 4, 6), tolerance=2e-5)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("backend", BACKENDS)
def test_first_and_second_derivatives_in_blocks_match_finite_differences(backend: str) -> None:
    inputs = [random_map(5, 24, d, seed=d).double().requires_grad_() for d in (2, 2, 3)]
    kernel = BACKENDS[backend]
    assert torch.autograd.gradcheck(kernel, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(kernel, inputs, fast_mode=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_computing_a_few_rows_at_a_time_in_inference_changes_no_value(
    form: Any, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_kernels, "ROW_ENTRIES", 1)
    monkeypatch.setattr(attention_kernels, "MIN_ROWS", rows)
    monkeypatch.setattr(attention_kernels, "NARROW_CHANNELS", 1)
    layer = SelfAttention2d(16, form, backend="eager").double()
    nn.init.ones_(layer.gamma)
    x = torch.randn(3, 16, 6, 8, dtype=torch.float64)
    expected = layer(x)
    in_rows, calls = attention_kernels._in_rows, []
    monkeypatch.setattr(
        attention_kernels, "_in_rows", lambda *operands: calls.append(0) or in_rows(*operands)
    )
    with torch.no_grad():  # as a training draws the images for D
        layer(x)
    assert not calls
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected)
    assert calls


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_transforms_of_torch_func_compute_what_autograd_computes(
    backend: str, spectral_norm: bool
) -> None:
    layer = make_layer(8, "full", spectral_norm, backend)
    x = random_map(2, 8, 2, 3)

    def loss(x: Tensor) -> Tensor:
        return layer(x).square().sum()

    (expected,) = torch.autograd.grad(loss(x.requires_grad_()), x)
    x = x.detach()
    assert_close(torch.func.grad(loss)(x), expected, 1e-5)
    hessian = torch.autograd.functional.hessian(loss, x[:1])
    assert_close(torch.func.jacrev(torch.func.grad(loss))(x[:1]), hessian, 1e-4)
    assert_close(torch.func.vmap(lambda one: layer(one[None])[0])(x), layer(x), 1e-5)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}
    gradients = torch.func.grad(
        lambda values: torch.func.functional_call(layer, values, x).square().sum()
    )(parameters)
    loss(x).backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit.script:FutureWarning")  # torch's own, at its import
@pytest.mark.parametrize(("backend", "spectral_norm"), [("auto", True), ("flash", False)])
def test_a_compiled_layer_computes_the_same_without_a_graph_break(
    backend: str, spectral_norm: bool
) -> None:
    layer = make_layer(16, "pooled", spectral_norm, backend)
    x = random_map(2, 16, 4, 4).requires_grad_()
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    y = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    assert_close(y, layer(x), 1e-5)
    assert_close(torch.autograd.grad(y.square().sum(), x)[0], expected, 1e-5)


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_an_exported_layer_computes_the_same_for_any_batch_size(
    backend: str, spectral_norm: bool
) -> None:
    layer = make_layer(16, "pooled", spectral_norm, backend)
    batch = {0: torch.export.Dim("batch")}
    # Above 32 images, these maps no longer fit in one block.
    exported = torch.export.export(layer, (random_map(2, 16, 16, 16),), dynamic_shapes=(batch,))
    for num in (1, 7, 65):
        x = random_map(num, 16, 16, 16)
        assert_close(exported.module()(x), layer(x), 1e-5)


@pytest.mark.parametrize("backend", ["flash", "chunked"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_over_many_blocks_are_as_exact_as_over_one(
    backend: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradients of keys and values are sums over 300 blocks of one row, without drift."""
    inputs = [random_map(1, 300, d, seed=d).to(dtype).requires_grad_() for d in (4, 4, 32)]
    cotangent = random_map(1, 300, 32).to(dtype)

    def gradients(kernel: AttentionKernel) -> list[Tensor]:
        attended = kernel(*inputs)
        return [attended.detach(), *torch.autograd.grad(attended, inputs, cotangent)]

    expected = gradients(attention_kernels.eager)
    monkeypatch.setattr(attention_kernels, "BLOCK_ENTRIES", 1)
    monkeypatch.setattr(attention_kernels, "MIN_BLOCK_ROWS", 1)
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    for actual, truth in zip(gradients(BACKENDS[backend]), expected, strict=True):
        assert_close(actual, truth, tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_a_gradient_penalty_equal_the_oracle(
    form: str, spectral_norm: bool, backend: str
) -> None:
    layer = make_layer(16, form, spectral_norm, backend)
    cotangent = random_map(2, 16, 4, 6, seed=3)

    def penalty_gradients(y: Tensor, x: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
        (slope,) = torch.autograd.grad((y * cotangent).sum(), x, create_graph=True)
        penalty = slope.square().sum()
        return torch.autograd.grad(penalty, [x, *parameters], materialize_grads=True)

    x = random_map(2, 16, 4, 6).requires_grad_()
    x64 = x.detach().double().requires_grad_()
    parameters = oracle_parameters(layer)
    expected = penalty_gradients(
        oracle(x64, parameters, form, spectral_norm)[0], x64, list(parameters.values())
    )
    actual = penalty_gradients(layer(x), x, list(layer.parameters()))
    scale = max(gradient.abs().max().item() for gradient in expected[1:])
    for name, a, e in zip(["x", *parameters], actual, expected, strict=True):
        error = (a.double() - e).abs().max()
        assert error < 1e-4 * (e.abs().max() + 0.1 * scale), f"{name}: {error}"


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_flash_runs_the_fused_kernel_and_has_the_second_derivative_of_eager(
    memory_format: torch.memory_format,
) -> None:
    """The fused kernel itself has no second derivative."""
    layer = make_layer(backend="flash")
    x = random_map(1, 16, 4, 4).to(memory_format=memory_format).requires_grad_()
    assert any("FlashAttention" in name for name in backward_nodes(layer(x)))
    second = []
    for backend in ("flash", "eager"):
        layer.backend = backend
        (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        second.append(torch.autograd.grad(slope.square().sum(), x)[0])
    assert_close(second[0], second[1], 1e-5)


def backward_nodes(result: Tensor) -> set[str]:
    """Return the names of all nodes in the graph of a result's backward pass."""
    names, waiting = set(), [result.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.add(node.name())
            waiting += [parent for parent, _ in node.next_functions]
    return names


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_in_the_thousands_do_not_overflow(backend: str) -> None:
    layer = make_layer(16, "full", backend=backend)
    with torch.no_grad():
        layer.query.weight.mul_(300)
    x = 5 * random_map(2, 16, 4, 4)
    expected, _ = oracle(x.double(), oracle_parameters(layer), "full", False)
    assert_close(layer(x), expected, 1e-3)


def layouts() -> dict[str, Callable[[], Tensor]]:
    return {
        "channels_last": lambda: random_map(2, 16, 4, 6).to(memory_format=torch.channels_last),
        "transposed": lambda: random_map(2, 16, 6, 4).transpose(2, 3),
        "sliced": lambda: random_map(4, 20, 8, 7)[1:3, 2:18, ::2, 1:],
        "expanded": lambda: random_map(1, 16, 4, 6).expand(2, 16, 4, 6),
    }


@pytest.mark.parametrize("layout", layouts())
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
def test_memory_layout_does_not_change_the_result(form: str, backend: str, layout: str) -> None:
    layer = make_layer(16, form, backend=backend)
    x = layouts()[layout]()
    contiguous = x.clone(memory_format=torch.contiguous_format)
    assert_close(layer(x), layer(contiguous), 1e-6)
    assert_close(layer.attention(x), layer.attention(contiguous), 1e-6)


def test_a_channels_last_input_gives_a_channels_last_output() -> None:
    for form in FORMS:
        x = random_map(2, 16, 4, 6).to(memory_format=torch.channels_last)
        y = make_layer(16, form)(x)
        assert y.is_contiguous(memory_format=torch.channels_last), form


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_autocast_is_within_four_percent_of_float32(form: str, backend: str) -> None:
    layer = make_layer(32, form, spectral_norm=True, backend=backend)
    x = random_map(2, 32, 8, 8).requires_grad_()
    y = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x)
        rows = layer.attention(x).float().sum(dim=2)
    cotangent = random_map(*x.shape, seed=5)
    gradient, half_gradient = (
        torch.autograd.grad(result, x, cotangent.to(result.dtype))[0] for result in (y, half)
    )
    attended, half_attended = y - x, half.float() - x
    assert_close(half_attended, attended, 0.04, "gamma * o")
    assert_close(half_gradient - cotangent, gradient - cotangent, 0.04, "gradient")
    assert (rows - 1).abs().max() < 0.01


@pytest.mark.parametrize("positions", [16, 1024])
@pytest.mark.parametrize("backend", BACKENDS)
def test_in_float16_scores_beyond_its_largest_number_choose_the_right_values(
    backend: str, positions: int
) -> None:
    """Scores of 10 million, of queries and keys that float16 can represent."""
    query, key, value = (
        (size * random_map(2, positions, 8, seed=seed)).half().requires_grad_()
        for seed, size in ((1, 1000), (2, 3000), (3, 1))
    )
    scores = query.double() @ key.double().mT
    assert scores.abs().max() > 100 * torch.finfo(torch.float16).max
    expected = torch.softmax(scores, dim=2) @ value.double()
    for autocast in (False, True):
        with torch.autocast("cpu", torch.float16, enabled=autocast):
            attended = BACKENDS[backend](query, key, value)
            rows = attention_kernels.attention_map(query, key).float().sum(dim=2)
        assert attended.dtype == torch.float16
        assert_close(attended, expected, 0.002)
        assert (rows - 1).abs().max() < 0.002
        gradients = torch.autograd.grad(attended.float().square().mean(), (query, key, value))
        assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
def test_float16_autocast_is_within_one_percent_of_float32(form: str, backend: str) -> None:
    layer = make_layer(32, form, spectral_norm=True, backend=backend)
    x = random_map(2, 32, 8, 8).requires_grad_()
    y = layer(x)
    with torch.autocast("cpu", torch.float16):
        half = layer(x)
    cotangent = random_map(*x.shape, seed=5)
    gradient, half_gradient = (
        torch.autograd.grad(result, x, cotangent.to(result.dtype))[0] for result in (y, half)
    )
    assert_close(half.float() - x, y - x, 0.01, "gamma * o")
    assert_close(half_gradient - cotangent, gradient - cotangent, 0.01, "gradient")


@pytest.mark.parametrize("size", [0.0, 1e-6, 1.0, 6e4])
def test_cosine_scores_in_float16_are_finite_for_features_of_any_size(size: float) -> None:
    layer = make_layer(16, "paper", scores="cosine").half()
    x = (size * random_map(2, 16, 4, 4)).clamp(-6e4, 6e4).half()
    with torch.no_grad():
        layer.query.weight.copy_(torch.eye(2, 16)[..., None, None])
        layer.key.weight.copy_(torch.eye(2, 16)[..., None, None])
    attention = layer.attention(x)
    assert attention.dtype == torch.float16
    query = torch.nn.functional.normalize(x.double().flatten(2)[:, :2], dim=1, eps=1e-30)
    expected = torch.softmax(layer.scale.double() * query.mT @ query, dim=2)  # type: ignore[union-attr]
    assert_close(attention, expected, 0.05)


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_maps_are_differentiated_in_their_own_dtype_even_under_autocast(
    backend: str,
) -> None:
    operands = [torch.randn(2, 1024, width).requires_grad_() for width in (4, 4, 32)]
    attended = BACKENDS[backend](*operands).square().sum()
    expected = torch.autograd.grad(attended, operands, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(attended, operands)
    for actual, truth in zip(found, expected, strict=True):
        assert torch.equal(actual, truth)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_gives_the_same_as_its_images_one_by_one(form: str) -> None:
    layer = make_layer(16, form)
    x = random_map(3, 16, 4, 4)
    assert_close(layer(x), torch.cat([layer(image[None]) for image in x]), 1e-6)


def test_an_empty_batch_gives_an_empty_batch() -> None:
    for backend in BACKENDS:
        assert make_layer(backend=backend)(torch.empty(0, 16, 4, 4)).shape == (0, 16, 4, 4)


# --- the map -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_returned_map_is_the_oracles_and_y_is_the_same_without_it(
    form: str, spectral_norm: bool, backend: str
) -> None:
    layer = make_layer(16, form, spectral_norm, backend)
    x = random_map(2, 16, 5, 6)
    y, attention = layer(x, return_attention=True)
    expected_y, expected = oracle(x.double(), oracle_parameters(layer), form, spectral_norm)
    assert_close(attention, expected, 1e-5)
    assert_close(y, expected_y, 1e-5)
    assert_close(y, layer(x), 1e-5)
    assert torch.equal(attention, layer.attention(x))


def test_gradients_flow_through_the_returned_map_and_its_y() -> None:
    layer = make_layer(backend="flash")
    x = random_map(2, 16, 4, 4)
    plain = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    y, attention = layer(x, return_attention=True)
    watched = torch.autograd.grad(y.square().sum(), list(layer.parameters()), retain_graph=True)
    for a, e in zip(watched, plain, strict=True):
        assert (a - e).abs().max() < 1e-3 + 1e-4 * e.abs().max()
    (slope,) = torch.autograd.grad(attention.square().sum(), layer.query.weight)
    assert slope.abs().max() > 0


@settings(max_examples=30)
@given(
    form=st.sampled_from(sorted(FORMS)),
    batch=st.integers(1, 3),
    channels=st.integers(8, 40),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
)
def test_rows_of_the_map_sum_to_one_at_any_shape(
    form: Any, batch: int, channels: int, height: int, width: int
) -> None:
    layer = SelfAttention2d(channels, form)
    x = random_map(batch, channels, height, width)
    y, attention = layer(x, return_attention=True)
    attended = (height // 2) * (width // 2) if form == "pooled" else height * width
    assert attention.shape == (batch, height * width, attended)
    assert y.shape == x.shape
    assert attention.min() >= 0
    assert (attention.sum(dim=2) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize("form", UNPOOLED)
def test_permuting_pixels_permutes_outputs_and_the_map(form: str, backend: str) -> None:
    layer = make_layer(16, form, backend=backend)
    x = random_map(2, 16, 4, 5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    permuted = x.flatten(2)[:, :, order].unflatten(2, (4, 5))
    assert_close(layer(permuted).flatten(2), layer(x).flatten(2)[:, :, order], 1e-5)
    expected = layer.attention(x)[:, order][:, :, order]
    assert_close(layer.attention(permuted), expected, 1e-5)


def test_positions_are_in_row_major_order() -> None:
    """All positions attend to a key that stands out at row 1, column 2 of 3 x 4: position 6."""
    layer = make_layer(8, "full")
    with torch.no_grad():
        layer.query.weight.zero_()
        layer.query.bias.fill_(1.0)
        layer.key.weight.fill_(1.0)
        layer.key.bias.zero_()
    x = torch.zeros(1, 8, 3, 4)
    x[:, :, 1, 2] = 10.0
    assert torch.equal(layer.attention(x).argmax(dim=2), torch.full((1, 12), 6))


def test_pooled_attention_ignores_an_odd_last_row_and_column() -> None:
    layer = make_layer(8, "pooled")
    x = random_map(1, 8, 5, 7)
    changed = x.clone()
    changed[:, :, 4, :] += 1
    changed[:, :, :, 6] -= 1
    seen = slice(0, 4), slice(0, 6)
    assert_close(layer(changed)[..., seen[0], seen[1]], layer(x)[..., seen[0], seen[1]], 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_new_layer_is_the_identity_bit_for_bit(form: Any, backend: Any) -> None:
    layer = SelfAttention2d(16, form, backend=backend)
    x = random_map(2, 16, 5, 6)
    assert torch.equal(layer(x), x)
    assert layer.gamma.shape == ()


def weights_init(module: nn.Module) -> None:
    """The function that most DCGANs pass to `apply`."""
    if "Conv" in type(module).__name__:
        nn.init.normal_(module.weight.data, 0.0, 0.02)  # type: ignore[operator,union-attr]


@pytest.mark.parametrize("form", FORMS)
def test_a_bare_layer_is_not_normalized_and_takes_the_usual_initialization(form: Any) -> None:
    layer = SelfAttention2d(64, form)
    assert not any(is_spectrally_normalized(module) for module in layer.modules())
    before = layer.value.weight.detach().clone()
    nn.Sequential(layer).apply(weights_init)
    assert not torch.equal(layer.value.weight, before)
    assert layer.value.weight.std().item() == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_an_initializer_sets_every_weight_before_it_is_normalized(
    form: Any, spectral_norm: bool
) -> None:
    layer = SelfAttention2d(
        16, form, spectral_norm, initializer=lambda weight: nn.init.constant_(weight, 0.5)
    )
    weights = {name: p for name, p in layer.named_parameters() if p.dim() == 4}
    assert len(weights) == (3 if form == "full" else 4)
    assert all((weight == 0.5).all() for weight in weights.values())
    if spectral_norm:  # a constant matrix of 2 x 16 has the norm 0.5 * sqrt(32)
        expected = 1 / 32**0.5
        assert layer.query.weight.mean().item() == pytest.approx(expected, rel=1e-5)


def test_an_initializer_that_is_a_name_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="initializer must be a function"):
        SelfAttention2d(16, initializer="orthogonal")  # type: ignore[arg-type]


def test_an_unnormalized_layer_can_be_pickled() -> None:
    layer = make_layer(form="pooled")
    twin = pickle.loads(pickle.dumps(layer))
    x = random_map(1, 16, 4, 4)
    assert torch.equal(twin(x), layer(x))


@pytest.mark.parametrize("shape", [(16, 4, 4), (2, 8, 4, 4), (2, 4, 4, 16), (2, 16, 16)])
def test_a_feature_map_of_another_shape_is_a_value_error_that_names_it(
    shape: tuple[int, ...],
) -> None:
    for call in (SelfAttention2d(16), SelfAttention2d(16).attention):
        with pytest.raises(ValueError, match=r"\(B, 16, H, W\), not " + re.escape(str(shape))):
            call(torch.zeros(shape))


@pytest.mark.parametrize("channels", ["16", 16.0, None, True])
def test_channels_that_are_not_a_whole_number_are_a_type_error(channels: Any) -> None:
    with pytest.raises(TypeError, match="channels must be a whole number"):
        SelfAttention2d(channels)


def test_gamma_learns_from_the_first_step_though_it_is_zero() -> None:
    layer = SelfAttention2d(16)
    x = random_map(2, 16, 4, 4)
    layer(x).square().sum().backward()
    assert layer.gamma.grad is not None
    assert layer.gamma.grad.abs() > 1e-3


# --- recording ----------------------------------------------------------------------------------


def test_recording_maps_does_not_change_the_output() -> None:
    layer = make_layer(backend="flash")
    x = random_map(2, 16, 4, 4)
    with recorded_maps({"it": layer}) as maps:
        watched = layer(x)
    assert torch.equal(watched, layer(x))
    assert torch.equal(maps["it"], layer.attention(x))
    assert not maps["it"].requires_grad


def test_only_the_last_pass_is_recorded_and_nothing_after_the_context() -> None:
    layer = make_layer()
    first, second, third = (random_map(1, 16, 4, 4, seed=seed) for seed in range(3))
    with recorded_maps({"it": layer}) as maps:
        layer(first)
        layer(second)
    layer(third)
    assert torch.equal(maps["it"], layer.attention(second))


def test_a_failing_pass_leaves_no_hook_behind() -> None:
    layer = make_layer()
    with pytest.raises(ValueError, match="feature maps"), recorded_maps({"it": layer}):
        layer(torch.zeros(1, 3, 4, 4))
    assert not layer._forward_pre_hooks


# --- memory -------------------------------------------------------------------------------------


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest output of any forward or backward operation.

    Storage is counted, since a view may have more elements than memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                size = leaf.untyped_storage().nbytes() // leaf.element_size()
                self.elements = max(self.elements, size)
        return result


def largest_tensor(
    form: str, backend: str, memory_format: torch.memory_format = torch.channels_last
) -> int:
    layer = make_layer(8, form, backend=backend)
    x = random_map(1, 8, 64, 64).to(memory_format=memory_format).requires_grad_()
    with LargestTensor() as recorder:
        layer(x).sum().backward()
    return recorder.elements


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("backend", "share"), [("flash", 25), ("chunked", 8)])
def test_no_tensor_is_as_large_as_the_map(
    form: str,
    backend: str,
    share: int,
    memory_format: torch.memory_format,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """N = 4096: a block has at least 512 rows, an eighth of the map."""
    monkeypatch.setattr(attention_kernels, "BLOCK_ENTRIES", 1)
    elements = 4096 * (1024 if form == "pooled" else 4096)
    assert largest_tensor(form, backend, memory_format) <= elements // share


def test_the_eager_backend_does_make_such_a_tensor() -> None:
    assert largest_tensor("pooled", "eager") >= 4096 * 512  # a block, half the map


def kept_elements(backend: str) -> int:
    """Count the elements saved for the backward pass, N = M = 512."""
    kept = 0

    def keep(x: Tensor) -> Tensor:
        nonlocal kept
        kept += x.numel()
        return x

    inputs = [random_map(2, 512, d).requires_grad_() for d in (2, 2, 8)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        BACKENDS[backend](*inputs)
    return kept


def test_only_eager_keeps_the_map_and_the_others_keep_memory_linear_in_n() -> None:
    assert kept_elements("eager") >= 2 * 512 * 512
    for backend in ("chunked", "flash"):
        assert kept_elements(backend) <= 2 * 512 * 50


PEAK_MEMORY = """
import resource, sys, torch
from sagan.nn import attention_kernels

dtype, num, channels = getattr(torch, sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if len(sys.argv) > 4:
    attention_kernels.BLOCK_ENTRIES, attention_kernels.MIN_BLOCK_ROWS = 1, int(sys.argv[4])

def attend(num, backend):
    shapes = [(1, num, 8), (1, num, 8), (1, num, channels)]
    inputs = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    attended = (backend or attention_kernels.select_backend(*inputs))(*inputs)
    attended.backward(torch.ones_like(attended))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

attend(64, attention_kernels.chunked)  # loads the libraries' code
print(attend(num, attention_kernels.chunked if len(sys.argv) > 4 else None) / 1024)
"""


@pytest.fixture
def peak_mebibytes(
    start_python: Callable[..., Any], end_of: Callable[..., Any]
) -> Callable[..., float]:
    """The memory of attention above its inputs, forward and backward, in its own process."""

    def measure(*arguments: object) -> float:
        ended = end_of(start_python(["-c", PEAK_MEMORY, *arguments]))
        assert ended.status == 0, ended.err
        return float(ended.out)

    return measure


def test_full_attention_over_16384_positions_takes_under_300_mib_above_its_inputs(
    peak_mebibytes: Callable[..., float],
) -> None:
    """C = 64. The map alone takes 1 GiB."""
    assert peak_mebibytes("float32", 16384, 64) < 300


def test_attention_in_bfloat16_also_takes_much_less_memory_than_its_map(
    peak_mebibytes: Callable[..., float],
) -> None:
    """Over 4096 positions the map takes 32 MiB. More would take minutes if bfloat16 is emulated.

    A block of 64 rows takes half a MiB. A dozen may exist at once, each also in float32.
    """
    assert peak_mebibytes("bfloat16", 4096, 16, 64) < 16


# --- choosing -----------------------------------------------------------------------------------


def test_auto_depends_only_on_shape_and_device() -> None:
    def choice(n: int, m: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Any:
        shapes = [(4, n, 8), (4, m, 8), (4, m, 32)]
        chosen = {
            select_backend(*(fill(shape, device=device).to(dtype) for shape in shapes))
            for fill in (torch.zeros, torch.ones, torch.randn)
        }
        assert len(chosen) == 1
        return chosen.pop()

    for dtype in (torch.float32, torch.bfloat16):
        assert choice(64, 64, dtype) is attention_kernels.eager
        assert choice(4096, 4096, dtype) is attention_kernels.eager
        assert choice(4096, 4097, dtype) is attention_kernels.chunked
    assert choice(64, 64, device="meta") is attention_kernels.flash  # as on any accelerator


def test_unknown_names_and_too_few_channels_are_value_errors_that_name_the_choices() -> None:
    with pytest.raises(ValueError, match="full, paper, pooled"):
        SelfAttention2d(16, form="fancy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"auto.*eager.*flash.*chunked"):
        SelfAttention2d(16, backend="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 8"):
        SelfAttention2d(7)
    with pytest.raises(ValueError, match="1 x 4"):
        SelfAttention2d(8, form="pooled")(torch.zeros(1, 8, 1, 4))


@pytest.mark.parametrize("form", FORMS)
def test_the_convolutions_have_the_published_widths_and_biases(form: Any) -> None:
    layer = SelfAttention2d(32, form, spectral_norm=False)
    shapes = {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}
    published = {
        "full": {"query": 4, "key": 4, "value": 32},
        "paper": {"query": 4, "key": 4, "value": 4, "output": 32},
        "pooled": {"query": 4, "key": 4, "value": 16, "output": 32},
    }[form]
    inputs = {"output": published["value"]}
    expected: dict[str, tuple[int, ...]] = {"gamma": ()}
    for name, outputs in published.items():
        expected[f"{name}.weight"] = (outputs, inputs.get(name, 32), 1, 1)
        if form == "full":
            expected[f"{name}.bias"] = (outputs,)
    assert shapes == expected


# --- state --------------------------------------------------------------------------------------


class PopularSelfAttention(nn.Module):
    """The layer that most PyTorch SAGAN implementations copy, unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(channels, channels // 8, kernel_size=1)
        self.key_conv = nn.Conv2d(channels, channels // 8, kernel_size=1)
        self.value_conv = nn.Conv2d(channels, channels, kernel_size=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, channels, width, height = x.size()
        proj_query = self.query_conv(x).view(batch, -1, width * height).permute(0, 2, 1)
        proj_key = self.key_conv(x).view(batch, -1, width * height)
        energy = torch.bmm(proj_query, proj_key)
        attention = torch.softmax(energy, dim=-1)
        proj_value = self.value_conv(x).view(batch, -1, width * height)
        out = torch.bmm(proj_value, attention.permute(0, 2, 1))
        out = out.view(batch, channels, width, height)
        return self.gamma * out + x, attention


@pytest.fixture
def popular() -> PopularSelfAttention:
    torch.manual_seed(3)
    layer = PopularSelfAttention(16)
    nn.init.constant_(layer.gamma, 0.3)
    return layer


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_popular_layers_state_dict_gives_its_y_and_its_map(
    popular: PopularSelfAttention, backend: Any
) -> None:
    layer = SelfAttention2d(16, form="full", spectral_norm=False, backend=backend)
    layer.load_state_dict(popular.state_dict(), strict=True)
    x = random_map(2, 16, 5, 6)
    expected_y, expected_map = popular(x)
    y, attention = layer(x, return_attention=True)
    assert_close(y, expected_y, 1e-6)
    assert_close(layer(x), expected_y, 1e-6)
    assert_close(attention, expected_map, 1e-6)


def test_the_popular_layer_loads_inside_a_network_and_the_callers_dict_is_not_changed(
    popular: PopularSelfAttention,
) -> None:
    source = nn.Sequential(nn.Conv2d(3, 16, 1), popular).state_dict()
    before = dict(source)
    layer = SelfAttention2d(16, spectral_norm=False)
    network = nn.Sequential(nn.Conv2d(3, 16, 1), layer)
    network.load_state_dict(source, strict=True)
    assert list(source) == list(before)
    assert all(source[name] is tensor for name, tensor in before.items())
    assert source["1.gamma"].shape == (1,)
    assert torch.equal(layer.value.weight, popular.value_conv.weight)


def test_a_loaded_layer_shares_no_memory_with_the_popular_one(
    popular: PopularSelfAttention,
) -> None:
    layer = SelfAttention2d(16, spectral_norm=False)
    layer.load_state_dict(popular.state_dict())
    with torch.no_grad():
        popular.gamma.fill_(9.0)
        popular.query_conv.weight.zero_()
    assert layer.gamma.item() == pytest.approx(0.3)
    assert layer.query.weight.abs().max() > 0


def test_a_popular_state_dict_without_values_is_refused_by_name(
    popular: PopularSelfAttention,
) -> None:
    state = popular.state_dict()
    del state["value_conv.weight"]
    with pytest.raises(RuntimeError, match=r"value\.weight"):
        SelfAttention2d(16, spectral_norm=False).load_state_dict(state)


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_state_dict_and_deepcopy_carry_everything_that_y_depends_on(
    form: str, spectral_norm: bool
) -> None:
    layer = make_layer(16, form, spectral_norm)
    x = random_map(2, 16, 4, 4)
    other = make_layer(16, form, spectral_norm, gamma=0.0, seed=7)
    other.load_state_dict(layer.state_dict(), strict=True)
    twin = copy.deepcopy(layer)
    y = layer(x)
    assert torch.equal(other(x), y)
    assert torch.equal(twin(x), y)
    with torch.no_grad():
        twin.gamma.fill_(5.0)
    assert torch.equal(layer(x), y)


@pytest.fixture(autouse=True)
def _restore_default_rng() -> Iterator[None]:
    """Keep tests that seed torch from affecting each other."""
    with torch.random.fork_rng(devices=[]):
        yield


def test_a_forward_and_backward_pass_draws_no_random_number() -> None:
    for backend in BACKENDS:
        layer = make_layer(backend=backend)
        before = torch.get_rng_state()
        layer(random_map(1, 16, 4, 4)).sum().backward()
        assert np.array_equal(before.numpy(), torch.get_rng_state().numpy()), backend
