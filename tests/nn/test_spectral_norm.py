"""Spectral normalization matches numpy's SVD and a power iteration written out in float64."""

import copy
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from sagan.nn.spectral_norm import (
    SpectralSpec,
    advance_spectral_norm,
    apply_spectral_norm,
    check_spectral_spec,
    fold_spectral_norm,
    is_spectrally_normalized,
    sigma_of,
    sigmas_of,
)

Float64 = npt.NDArray[np.float64]

KINDS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Conv2d(3, 5, 3),
    "conv-1x1": lambda: nn.Conv2d(6, 4, 1),
    "wide conv": lambda: nn.Conv2d(2, 30, 3),
    "transposed conv": lambda: nn.ConvTranspose2d(6, 4, 3),
    "linear": lambda: nn.Linear(7, 4),
    "embedding": lambda: nn.Embedding(5, 6),
}


def make(kind: str, seed: int = 0) -> nn.Module:
    """Return a layer, not yet normalized, in channels-first or (odd seeds) channels-last memory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = KINDS[kind]()
    return layer.to(memory_format=torch.channels_last) if seed % 2 else layer


def normalized(kind: str, seed: int = 0, advances: int = 0) -> nn.Module:
    layer = make(kind, seed)
    apply_spectral_norm(layer, (type(layer),))
    for _ in range(advances):
        advance_spectral_norm(layer)
    return layer


def argument(layer: nn.Module) -> Tensor:
    """Return an input for the layer."""
    rng = torch.Generator().manual_seed(9)
    if isinstance(layer, nn.Embedding):
        return torch.tensor([0, 4, 2, 2])
    if isinstance(layer, nn.Linear):
        return torch.randn(3, layer.in_features, generator=rng)
    return torch.randn(2, layer.in_channels, 6, 5, generator=rng)  # type: ignore[arg-type]


def norm_of(layer: nn.Module) -> Any:
    return layer.parametrizations.weight[0]  # type: ignore[index,union-attr]


def raw(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.parametrizations.weight.original  # type: ignore[union-attr,assignment]
    return weight


def outputs_by_rest(layer: nn.Module, weight: Tensor) -> Float64:
    """Return the matrix (outputs, everything else), built row by row from the axis of outputs."""
    array = weight.detach().double().numpy()
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    rows = [np.take(array, i, axis=axis).reshape(-1) for i in range(array.shape[axis])]
    return np.stack(rows)


def largest_singular_value(layer: nn.Module, weight: Tensor) -> float:
    return float(np.linalg.svd(outputs_by_rest(layer, weight), compute_uv=False)[0])


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same_state(module: nn.Module, before: dict[str, Tensor]) -> None:
    after = module.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name


# --- sigma --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_sigma_converges_to_the_largest_singular_value_and_the_weights_norm_to_one(
    kind: str, seed: int
) -> None:
    layer = normalized(kind, seed, advances=500)
    expected = largest_singular_value(layer, raw(layer))
    assert sigma_of(layer).item() == pytest.approx(expected, rel=1e-5)
    assert largest_singular_value(layer, layer.weight) == pytest.approx(1, rel=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_sigma_of_a_plain_layer_is_exact(kind: str) -> None:
    layer = make(kind)
    sigma = sigma_of(layer)
    assert sigma.dtype == torch.float32
    assert sigma.shape == ()
    assert not sigma.requires_grad
    expected = largest_singular_value(layer, layer.weight)  # type: ignore[arg-type]
    assert sigma.item() == pytest.approx(expected, rel=1e-6)


def test_a_transposed_convolutions_norm_is_not_that_of_its_weight_flattened_as_stored() -> None:
    """Otherwise these tests could not tell a wrong layout from the right one."""
    layer = make("transposed conv")
    as_stored = layer.weight.detach().double().flatten(1).numpy()  # type: ignore[operator,union-attr]
    wrong = np.linalg.svd(as_stored, compute_uv=False)[0]
    assert abs(sigma_of(layer).item() / wrong - 1) > 0.01


@settings(max_examples=25)
@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 999), advances=st.integers(0, 4))
def test_the_estimate_never_exceeds_the_true_norm_and_starts_near_it(
    kind: str, seed: int, advances: int
) -> None:
    layer = normalized(kind, seed, advances)
    share = sigma_of(layer).item() / largest_singular_value(layer, raw(layer))
    assert 0.9 < share < 1 + 1e-5


def test_sigmas_of_names_exactly_the_normalized_layers() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.Embedding(3, 4))
    )
    apply_spectral_norm(network, (nn.Conv2d, nn.Linear))
    sigmas = sigmas_of(network)
    assert list(sigmas) == ["0", "2.0"]
    assert torch.equal(sigmas["2.0"], sigma_of(network[2][0]))  # type: ignore[index]


def test_weights_with_another_parametrization_are_left_alone_and_cannot_be_normalized() -> None:
    network = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 5))
    apply_spectral_norm(network[1], (nn.Linear,))
    advance_spectral_norm(network)
    assert list(sigmas_of(network)) == ["1"]
    with pytest.raises(ValueError, match="ParametrizedLinear is already parametrized"):
        apply_spectral_norm(network, (nn.Linear,))
    fold_spectral_norm(network)
    assert parametrize.is_parametrized(network[0])
    assert not parametrize.is_parametrized(network[1])


@pytest.mark.parametrize("eps", [-1e-6, float("nan"), float("inf"), "1e-12", None])
def test_a_bound_that_is_not_a_small_number_is_a_value_error(eps: Any) -> None:
    with pytest.raises(ValueError, match="eps must be a small number"):
        SpectralSpec(eps)


def test_networks_take_a_spectral_spec_or_none_and_nothing_else() -> None:
    check_spectral_spec(SpectralSpec())
    check_spectral_spec(None)
    with pytest.raises(TypeError, match=r"must be SpectralSpec\(\) or None, not True"):
        check_spectral_spec(True)


def test_sigma_of_a_module_without_a_weight_of_its_own_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="ReLU"):
        sigma_of(nn.ReLU())
    with pytest.raises(TypeError, match="Sequential"):
        sigma_of(nn.Sequential(normalized("linear"), normalized("conv")))


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.BatchNorm2d, nn.ReLU])
def test_normalizing_an_unsupported_kind_is_a_type_error_that_names_it(
    kind: type[nn.Module],
) -> None:
    with pytest.raises(TypeError, match=kind.__name__):
        apply_spectral_norm(nn.Sequential(nn.Linear(2, 2)), (kind,))


# --- when u and v change ------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_backward_change_no_bit_of_the_state(kind: str, training: bool) -> None:
    layer = normalized(kind).train(training)
    before = state(layer)
    layer(argument(layer)).square().sum().backward()
    layer(argument(layer))
    sigma_of(layer), sigmas_of(layer)
    assert_same_state(layer, before)


@pytest.mark.parametrize("kind", KINDS)
def test_advance_is_one_power_iteration(kind: str) -> None:
    layer = normalized(kind)
    with torch.no_grad():
        raw(layer).add_(torch.linspace(-1, 1, raw(layer).numel()).view_as(raw(layer)))
    matrix = outputs_by_rest(layer, raw(layer))
    v = matrix.T @ norm_of(layer).u.double().numpy()
    v /= np.sqrt((v * v).sum())
    u = matrix @ v
    u /= np.sqrt((u * u).sum())

    advance_spectral_norm(layer)

    np.testing.assert_allclose(norm_of(layer).u.numpy(), u, atol=1e-6)
    # The order of the columns in v is up to the layer.
    np.testing.assert_allclose(np.sort(norm_of(layer).v.numpy()), np.sort(v), atol=1e-6)
    assert sigma_of(layer).item() == pytest.approx(float(u @ matrix @ v), rel=1e-6)


def test_advance_works_in_place_and_without_gradients() -> None:
    layer = normalized("conv")
    u = norm_of(layer).u
    with torch.no_grad():
        raw(layer).mul_(torch.linspace(0.1, 2, 27).view(1, 3, 3, 3))
    before = u.clone()
    advance_spectral_norm(layer)
    assert norm_of(layer).u is u
    assert not torch.equal(u, before)
    assert not u.requires_grad
    assert raw(layer).grad is None


@pytest.mark.parametrize("kind", KINDS)
def test_advancing_between_forward_and_backward_does_not_change_the_gradient(kind: str) -> None:
    layer, twin = normalized(kind), normalized(kind)
    loss = layer(argument(layer)).square().sum()
    advance_spectral_norm(layer)
    loss.backward()
    twin(argument(twin)).square().sum().backward()
    assert torch.equal(raw(layer).grad, raw(twin).grad)  # type: ignore[arg-type]


# --- mistakes -----------------------------------------------------------------------------------


WRITES: dict[str, Callable[[nn.Module], object]] = {
    "data.normal_": lambda layer: layer.weight.data.normal_(0, 0.02),  # type: ignore[operator,union-attr]
    "init.normal_": lambda layer: nn.init.normal_(layer.weight, 0, 0.02),  # type: ignore[arg-type]
    "data slice": lambda layer: layer.weight.data[0].zero_(),  # type: ignore[operator,index,union-attr]
    "after a look": lambda layer: (layer.weight.std(), layer.weight.data.zero_()),  # type: ignore[operator,union-attr]
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", KINDS)
def test_writing_to_a_normalized_weight_warns_in_the_next_forward_pass(
    kind: str, write: str
) -> None:
    layer = normalized(kind)
    WRITES[write](layer)
    with pytest.warns(UserWarning, match="set in place, which has no effect") as caught:
        layer(argument(layer))
    assert len(caught) == 1
    layer(argument(layer))


def test_initializing_a_whole_normalized_network_warns_once() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3))
    apply_spectral_norm(network, (nn.Conv2d,))
    for layer in network:
        WRITES["data.normal_"](layer)
    with pytest.warns(UserWarning, match="initialize before normalization") as caught:
        network(torch.zeros(1, 3, 8, 8))
    assert len(caught) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_assigning_a_weight_sets_the_raw_weight_and_its_sigma(kind: str) -> None:
    layer = normalized(kind)
    new = torch.randn(raw(layer).shape, generator=torch.Generator().manual_seed(5))
    layer.weight = new.clone()
    assert torch.equal(raw(layer), new)
    expected = largest_singular_value(layer, new)
    assert 0.9 * expected < sigma_of(layer).item() < (1 + 1e-5) * expected
    layer(argument(layer)).sum().backward()
    assert raw(layer).grad is not None


def updates(layer: nn.Module, num: int, advance: bool, forwards: int = 2) -> None:
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for _ in range(num):
        if advance:
            advance_spectral_norm(layer)
        for _ in range(forwards):
            optimizer.zero_grad()
            layer(argument(layer)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
def test_training_without_advancing_warns_once(kind: str) -> None:
    layer = normalized(kind)
    with pytest.warns(UserWarning, match="call sagan.nn.spectral_norm.advance_") as caught:
        updates(layer, 12, advance=False)
    assert len(caught) == 1


def test_the_first_pass_after_three_updates_without_advancing_warns() -> None:
    layer = normalized("linear")
    updates(layer, 3, advance=False)
    with pytest.warns(UserWarning, match="changed 3 times"):
        updates(layer, 1, advance=False)


def test_training_that_advances_does_not_warn() -> None:
    for kind in KINDS:
        updates(normalized(kind), 12, advance=True, forwards=3)


def test_evaluation_copies_and_frozen_layers_do_not_warn_however_their_weights_change() -> None:
    """Averages of weights change with every update, and never advance u and v."""
    for prepare in (
        lambda layer: layer.eval(),
        lambda layer: layer.requires_grad_(False),
    ):
        layer = prepare(normalized("conv"))
        for _ in range(12):
            with torch.no_grad():
                raw(layer).mul_(1.01)
            layer(argument(layer))
    layer = normalized("conv")
    for _ in range(12):
        with torch.no_grad():
            raw(layer).mul_(1.01)
            layer(argument(layer))


def test_watching_for_mistakes_keeps_no_tensor_after_the_first_passes() -> None:
    layer = normalized("linear")
    for _ in range(20):
        output = weakref.ref(layer.weight)
        layer(argument(layer))
    assert output() is None
    assert norm_of(layer)._misuse._returned is None


def test_a_pickle_of_a_normalized_layer_is_refused_in_favor_of_its_state_dict() -> None:
    with pytest.raises(RuntimeError, match=r"only supported through state_dict\(\)"):
        pickle.dumps(normalized("linear"))


def test_u_and_v_are_not_parameters_but_are_saved() -> None:
    layer = normalized("conv")
    assert len(list(layer.parameters())) == 2
    assert {name.rsplit(".", 1)[-1] for name in layer.state_dict()} >= {"u", "v"}


def test_normalizing_draws_no_number_from_the_global_rng() -> None:
    layer = make("conv")
    before = torch.get_rng_state()
    apply_spectral_norm(layer, (nn.Conv2d,))
    assert torch.equal(torch.get_rng_state(), before)


def test_normalizing_twice_is_normalizing_once() -> None:
    layer = normalized("conv")
    before = state(layer)
    apply_spectral_norm(layer, (nn.Conv2d,))
    assert_same_state(layer, before)


# --- gradient -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_w_over_its_largest_singular_value(kind: str) -> None:
    """dL/dW = G / s - <G, W> / s^2 * u v^T with exact u and v: Miyato et al. 2018, equation 9."""
    layer = normalized(kind, advances=500)
    cotangent = torch.randn(raw(layer).shape, generator=torch.Generator().manual_seed(4))
    (gradient,) = torch.autograd.grad((layer.weight * cotangent).sum(), raw(layer))  # type: ignore[operator]

    matrix, g = outputs_by_rest(layer, raw(layer)), outputs_by_rest(layer, cotangent)
    left, values, right = np.linalg.svd(matrix)
    s, outer = values[0], np.outer(left[:, 0], right[0])
    expected = g / s - (g * matrix).sum() / s**2 * outer
    np.testing.assert_allclose(outputs_by_rest(layer, gradient), expected, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_matches_finite_differences_with_constant_u_and_v(kind: str) -> None:
    """This holds before the power iteration has converged, and for second derivatives."""
    layer = normalized(kind).double()
    with torch.no_grad():
        raw(layer).add_(torch.linspace(-0.5, 0.5, raw(layer).numel()).view_as(raw(layer)))
    weight = raw(layer).detach().requires_grad_()
    assert torch.autograd.gradcheck(norm_of(layer), weight)
    cotangent = torch.ones_like(weight).requires_grad_()
    assert torch.autograd.gradgradcheck(norm_of(layer), weight, cotangent)


# --- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_to_bfloat16_changes_no_bit_of_sigma_or_the_weight(kind: str) -> None:
    layer, twin = normalized(kind), normalized(kind)
    with torch.autocast("cpu", torch.bfloat16):
        advance_spectral_norm(layer)
        sigma, weight = sigma_of(layer), layer.weight
    advance_spectral_norm(twin)
    assert sigma.dtype == torch.float32
    assert norm_of(layer).u.dtype == norm_of(layer).v.dtype == torch.float32
    assert torch.equal(sigma, sigma_of(twin))
    assert torch.equal(weight, twin.weight)  # type: ignore[arg-type]
    assert_same_state(layer, state(twin))


# --- fold, copy, save ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_folding_keeps_outputs_and_leaves_an_ordinary_layer(kind: str) -> None:
    layer = normalized(kind, advances=3).eval()
    expected = layer(argument(layer))
    norm = sigma_of(layer)
    weight = raw(layer).detach().clone()
    fold_spectral_norm(layer)
    torch.testing.assert_close(layer(argument(layer)), expected, atol=1e-6, rtol=0)
    assert type(layer) is type(make(kind))
    assert layer.state_dict().keys() == make(kind).state_dict().keys()
    assert not is_spectrally_normalized(layer)
    assert isinstance(layer.weight, nn.Parameter)
    torch.testing.assert_close(layer.weight.detach() * norm, weight)
    assert sigmas_of(layer) == {}
    fold_spectral_norm(layer)  # again: nothing left to do


def test_folding_a_deep_copy_does_not_change_the_original() -> None:
    layer = nn.Conv2d(3, 4, 3)
    apply_spectral_norm(layer, (nn.Conv2d,))
    x = torch.randn(1, 3, 5, 5)
    before, other = layer(x), copy.deepcopy(layer)
    fold_spectral_norm(other)
    torch.testing.assert_close(other(x), before)
    assert torch.equal(layer(x), before)
    assert is_spectrally_normalized(layer)


def test_a_folded_state_dict_loads_into_a_layer_that_was_never_normalized() -> None:
    layer = normalized("transposed conv")
    expected = layer(argument(layer))
    fold_spectral_norm(layer)
    plain = make("transposed conv", seed=5)
    plain.load_state_dict(layer.state_dict(), strict=True)
    torch.testing.assert_close(plain(argument(layer)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dict_carries_the_estimate_to_the_next_step(kind: str) -> None:
    layer, other = normalized(kind, seed=0, advances=2), normalized(kind, seed=2)
    other.load_state_dict(layer.state_dict(), strict=True)
    for _ in range(2):
        assert torch.equal(other(argument(layer)), layer(argument(layer)))
        assert_same_state(other, state(layer))
        advance_spectral_norm(layer)
        advance_spectral_norm(other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_deep_copy_computes_the_same_and_shares_nothing(kind: str) -> None:
    layer = normalized(kind)
    twin = copy.deepcopy(layer)
    before = state(layer)
    assert torch.equal(twin(argument(layer)), layer(argument(layer)))
    with torch.no_grad():
        raw(twin).mul_(2)
    advance_spectral_norm(twin)
    assert_same_state(layer, before)
    assert is_spectrally_normalized(twin)
    assert sigma_of(twin).item() == pytest.approx(2 * sigma_of(layer).item(), rel=0.1)


def test_sgd_on_the_raw_weight_trains_the_layer() -> None:
    layer = normalized("linear")
    before = layer(argument(layer)).detach()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    layer(argument(layer)).square().sum().backward()
    optimizer.step()
    assert layer(argument(layer)).square().sum() < before.square().sum()


def test_outputs_do_not_depend_on_the_scale_of_the_weight() -> None:
    layer = normalized("conv", advances=300)
    before = layer(argument(layer))
    with torch.no_grad():
        raw(layer).mul_(1000)
    torch.testing.assert_close(layer(argument(layer)), before, rtol=1e-5, atol=1e-6)
