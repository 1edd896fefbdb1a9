"""All weights normalized together equal each one normalized alone, by NumPy in float64."""

import copy
import warnings

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sagan.nn.spectral_norm import (
    SpectralNorm,
    apply_spectral_norm,
    normalized_once,
)
from sagan.nn.stacked_norms import PADDING, plan_stacks

Float64 = npt.NDArray[np.float64]
Matrices = dict[str, Float64]

# --- which matrices share a stack ---------------------------------------------------------------

SHAPES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=12)


@given(shapes=SHAPES)
def test_each_matrix_has_one_place_that_it_fits_into_and_zeros_stay_few(
    shapes: list[tuple[int, int]],
) -> None:
    plan = plan_stacks(tuple(shapes))
    assert sorted(member for stack in plan for member in stack.members) == list(range(len(shapes)))
    for stack in plan:
        fitting = [shapes[member] for member in stack.members]
        assert (stack.rows, stack.columns) == tuple(map(max, zip(*fitting, strict=True)))
    entries = sum(rows * columns for rows, columns in shapes)
    assert sum(stack.entries for stack in plan) <= (1 + PADDING) * entries


@given(shapes=SHAPES)
def test_matrices_of_one_shape_share_a_stack(shapes: list[tuple[int, int]]) -> None:
    plan = plan_stacks(tuple(shapes))
    for shape in set(shapes):
        equal = {i for i, other in enumerate(shapes) if other == shape}
        assert any(equal <= set(stack.members) for stack in plan)


def test_small_matrices_join_a_stack_and_a_large_one_stays_alone() -> None:
    plan = plan_stacks(((200, 100), (10, 10), (10, 9), (1, 10), (8, 8)))
    assert sorted(sorted(stack.members) for stack in plan) == [[0], [1, 2, 3, 4]]


def test_the_last_two_stacks_become_one_if_that_takes_few_zeros() -> None:
    assert len(plan_stacks(((10, 10), (10, 9)))) == 1


# --- what they compute --------------------------------------------------------------------------


def make_network(eps: float = 1e-12) -> nn.Sequential:
    """Return layers of all kinds, in several sizes, whose weights changed since u and v did."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.Conv2d(6, 6, 3).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            nn.Conv2d(6, 6, 3),
            nn.Conv2d(6, 4, 1),
            nn.ConvTranspose2d(4, 6, 3),
            nn.ConvTranspose2d(4, 5, 3).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            nn.Linear(7, 4),
            nn.Linear(7, 1),
            nn.Embedding(5, 6),
        )
        kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)
        apply_spectral_norm(network, kinds, eps)
        for parameter in network.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return network


def raw(layer: nn.Module) -> Tensor:
    return layer.parametrizations.weight.original  # type: ignore[union-attr,return-value]


def norm_of(layer: nn.Module) -> SpectralNorm:
    return layer.parametrizations.weight[0]  # type: ignore[union-attr,index,return-value]


def as_matrix(layer: nn.Module, weight: Tensor) -> Float64:
    """Return (outputs, everything else), the columns in the order of v: rows, columns, inputs."""
    array = weight.detach().double().numpy()
    if isinstance(layer, nn.ConvTranspose2d):
        return array.transpose(1, 0, 2, 3).reshape(array.shape[1], -1)
    return array.reshape(len(array), -1)


def in_order_of_v(layer: nn.Module) -> Float64:
    """Return v with its entries in the order of `as_matrix`'s columns."""
    v = norm_of(layer).v.double().numpy()
    if isinstance(layer, nn.Conv2d):
        height, width = layer.kernel_size
        return v.reshape(height, width, -1).transpose(2, 0, 1).ravel()
    if isinstance(layer, nn.ConvTranspose2d):
        inputs = raw(layer).shape[0]
        return v.reshape(inputs, -1).ravel()
    return v


def iterated(layer: nn.Module) -> tuple[Float64, Float64]:
    """Return u and v after one power iteration: Miyato et al. 2018, algorithm 1."""
    matrix = as_matrix(layer, raw(layer))
    v = matrix.T @ norm_of(layer).u.double().numpy()
    v /= np.sqrt((v * v).sum())
    u = matrix @ v
    return u / np.sqrt((u * u).sum()), v


def assert_normalized(layer: nn.Module, weight: Tensor, u: Float64, v: Float64) -> None:
    matrix = as_matrix(layer, raw(layer))
    assert weight.shape == raw(layer).shape
    np.testing.assert_allclose(as_matrix(layer, weight), matrix / (u @ matrix @ v), atol=2e-6)


def test_an_advance_is_one_power_iteration_of_every_layer_and_divides_by_its_sigma() -> None:
    network = make_network()
    expected = [iterated(layer) for layer in network]
    with normalized_once(network, advance=True):
        for layer, (u, v) in zip(network, expected, strict=True):
            assert_normalized(layer, layer.weight, u, v)  # type: ignore[arg-type]
    for layer, (u, v) in zip(network, expected, strict=True):
        np.testing.assert_allclose(norm_of(layer).u.numpy(), u, atol=2e-6)
        np.testing.assert_allclose(in_order_of_v(layer), v, atol=2e-6)


def test_without_an_advance_weights_are_constants_and_u_and_v_stay() -> None:
    network = make_network()
    before = copy.deepcopy(network.state_dict())
    with normalized_once(network, advance=False):
        for layer in network:
            weight: Tensor = layer.weight  # type: ignore[assignment]
            assert not weight.requires_grad
            assert_normalized(
                layer, weight, norm_of(layer).u.double().numpy(), in_order_of_v(layer)
            )
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_gradients_are_those_of_w_over_sigma_with_constant_u_and_v() -> None:
    """dL/dW = G / s - <G, W> / s^2 * u v^T: Miyato et al. 2018, equation 9; a layer without G has
    none."""
    network = make_network()
    rng = torch.Generator().manual_seed(4)
    upstream = [torch.randn(raw(layer).shape, generator=rng) for layer in network][:-1]
    with normalized_once(network, advance=True):
        products = [(layer.weight * g).sum() for layer, g in zip(network, upstream, strict=False)]  # type: ignore[operator]
    torch.stack(products).sum().backward()
    assert raw(network[-1]).grad is None
    for layer, g in zip(network, upstream, strict=False):
        matrix, of_output = as_matrix(layer, raw(layer)), as_matrix(layer, g)
        u, v = norm_of(layer).u.double().numpy(), in_order_of_v(layer)
        s = u @ matrix @ v
        expected = of_output / s - (of_output * matrix).sum() / s**2 * np.outer(u, v)
        found = as_matrix(layer, raw(layer).grad)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_micro_batches_add_up_the_gradients_of_one_context() -> None:
    network, twin = make_network(), make_network()
    with normalized_once(network, advance=True):
        for share in (0.25, 0.75):
            sum((layer.weight**2).sum() for layer in network).backward(torch.tensor(share))  # type: ignore[operator,union-attr]
    with normalized_once(twin, advance=True):
        sum((layer.weight**2).sum() for layer in twin).backward()  # type: ignore[operator,union-attr]
    for parameter, other in zip(network.parameters(), twin.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(parameter.grad, other.grad)


def test_gradients_have_the_layout_of_their_weights() -> None:
    """Otherwise torch would copy each of them."""
    network = make_network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with normalized_once(network, advance=True):
        sum((layer.weight**2).sum() for layer in network).backward()  # type: ignore[operator,union-attr]
    for layer in network:
        assert raw(layer).grad.stride() == raw(layer).stride()  # type: ignore[union-attr]


def test_frozen_layers_keep_u_and_v_and_their_function() -> None:
    network = make_network()
    network[2].requires_grad_(False)
    u, weight = norm_of(network[2]).u.clone(), network[2].weight.clone()  # type: ignore[operator]
    with normalized_once(network, advance=True):
        assert torch.equal(network[2].weight, weight)  # type: ignore[arg-type]
    assert torch.equal(norm_of(network[2]).u, u)


def test_a_weight_of_zeros_stays_zero() -> None:
    """Its sigma is bounded from below by eps."""
    network = make_network(eps=1e-6)
    raw(network[0]).data.zero_()
    with normalized_once(network, advance=True):
        assert network[0].weight.count_nonzero() == 0  # type: ignore[operator]


# --- when they are read -------------------------------------------------------------------------


def test_a_context_within_another_ends_with_the_weights_of_the_outer_one() -> None:
    network = make_network()
    alone = network[0].weight
    with normalized_once(network, advance=False):
        outer = network[0].weight
        with normalized_once(network, advance=True):
            assert not torch.equal(network[0].weight, outer)  # type: ignore[arg-type]
        assert network[0].weight is outer
    assert network[0].weight is not outer
    assert not torch.equal(network[0].weight, alone)  # type: ignore[arg-type]


def test_every_read_within_a_context_is_the_same_tensor_and_none_after_an_error() -> None:
    network = make_network()
    with normalized_once(network, advance=True):
        assert network[4].weight is network[4].weight
    with pytest.raises(TypeError), normalized_once(network, advance=True):
        network("neither a tensor nor labels")
    assert network[4].weight is not network[4].weight


def test_an_update_within_a_context_gives_no_warning_and_a_copy_afterward_reads_its_own() -> None:
    network = make_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(12):
            with normalized_once(network, advance=True):
                optimizer.zero_grad()
                sum((layer.weight**2).sum() for layer in network).backward()  # type: ignore[operator,union-attr]
                optimizer.step()
    twin = copy.deepcopy(network)
    raw(twin[0]).data[0].zero_()
    assert twin[0].weight[0].count_nonzero() == 0  # type: ignore[index]
    assert network[0].weight[0].count_nonzero() > 0  # type: ignore[index]


@pytest.mark.parametrize("advance", [True, False])
def test_a_copy_made_within_a_context_is_not_part_of_it(advance: bool) -> None:
    network = make_network()
    with normalized_once(network, advance):
        twin = copy.deepcopy(network)
        raw(twin[0]).data[0].zero_()
        assert twin[0].weight[0].count_nonzero() == 0  # type: ignore[index]
    assert norm_of(network[0]).shared is None


def test_a_network_without_normalized_layers_is_left_alone() -> None:
    layer = nn.Linear(2, 3)
    with normalized_once(layer, advance=True):
        assert isinstance(layer.weight, nn.Parameter)
