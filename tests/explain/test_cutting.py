"""Cuts in attention, checked against the equations in NumPy."""

import numpy as np
import pytest
import torch

from sagan.explain.cutting import (
    Effect,
    applied,
    cut_beyond,
    cut_everything,
    cut_key,
    cut_samples,
    key_distances,
)
from sagan.nn.attention import SelfAttention2d
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.resnet import Generator


def make_layer(form="full", seed=0):
    torch.manual_seed(seed)
    layer = SelfAttention2d(8, form)
    with torch.no_grad():
        layer.gamma.fill_(0.7)
    return layer


def by_hand(layer, x, change):
    """Equations 1 to 3 of the full form for one image, with changed weights."""

    def convolved(convolution):
        weight, bias = convolution.weight.detach().numpy()[:, :, 0, 0], convolution.bias
        return weight @ x[0].numpy().reshape(8, -1) + bias.detach().numpy()[:, None]

    f, g, h = (convolved(c) for c in (layer.key, layer.query, layer.value))
    scores = g.T @ f  # (N, M)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = change(weights / weights.sum(axis=1, keepdims=True))
    o = h @ weights.T  # (C, N)
    return x.numpy() + 0.7 * o.reshape(1, 8, *x.shape[2:])


def without_key_5(weights):
    weights = weights.copy()
    weights[:, 5] = 0
    return weights


def within_one(weights):
    """Only the query itself and its four neighbors on a grid of 3 x 4."""
    kept = np.zeros_like(weights)
    for query in range(12):
        for key in range(12):
            (i, j), (k, m) = divmod(query, 4), divmod(key, 4)
            if abs(i - k) + abs(j - m) <= 1:
                kept[query, key] = weights[query, key]
    return kept / kept.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("cut", "change"),
    [(cut_everything, np.zeros_like), (cut_key(5), without_key_5), (cut_beyond(1), within_one)],
)
def test_a_cut_layer_computes_the_equations_with_the_changed_weights(cut, change):
    layer = make_layer()
    x = torch.randn(1, 8, 3, 4, generator=torch.Generator().manual_seed(1))
    uncut = layer(x)
    with torch.no_grad(), applied(layer, cut):
        y = layer(x).numpy()
    np.testing.assert_allclose(y, by_hand(layer, x, change), rtol=1e-4, atol=1e-5)
    assert not np.allclose(y, uncut.detach().numpy(), atol=1e-3)
    assert torch.equal(layer(x), uncut)  # the cut ends with the context


def test_a_cut_beyond_everything_changes_nothing():
    layer = make_layer("pooled")
    x = torch.randn(2, 8, 4, 4)
    with applied(layer, cut_beyond(100)):
        y = layer(x)
    torch.testing.assert_close(y, layer(x))


def test_near_keys_share_the_attention_evenly_if_they_get_none_of_it():
    layer, x = make_layer(), torch.zeros(1, 8, 2, 2)
    far = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(1, 4, 4)
    weights = cut_beyond(1)(layer, x, far)
    expected = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0], *3 * [[0, 0, 0, 1]]])
    torch.testing.assert_close(weights[0], expected)


def test_pooled_keys_are_in_the_middle_of_their_blocks():
    distances = key_distances(make_layer("pooled"), 4, 4)
    assert distances.shape == (16, 4)
    assert distances[0, 0] == pytest.approx(0.5**0.5)
    assert distances[0, 3] == pytest.approx(2.5 * 2**0.5)


@pytest.mark.parametrize(
    ("cut", "message"),
    [(cut_key(4), "key 4 is not one of 4"), (cut_beyond(0.5), "some queries have no key")],
)
def test_cuts_that_do_not_fit_the_layer_are_refused(cut, message):
    layer = make_layer("pooled")
    with applied(layer, cut), pytest.raises(ValueError, match=message):
        layer(torch.zeros(1, 8, 4, 4))


def test_a_generator_without_what_attention_adds_draws_as_with_gamma_0():
    torch.manual_seed(0)
    generator = Generator(32, 8, attention=AttentionSpec((16,)))
    (name,) = generator.attention_layers()
    gamma = generator.attention_layers()[name].gamma
    with torch.no_grad():
        gamma.fill_(5.0)
    effect = cut_samples(generator, name, cut_everything, 2)
    np.testing.assert_array_equal(effect.before, generator.sample(2))
    with torch.no_grad():
        gamma.fill_(0.0)
    np.testing.assert_array_equal(effect.after, generator.sample(2))
    assert effect.change().shape == (2, 32, 32)
    assert effect.change().mean() > 0


def test_an_unknown_layer_is_refused():
    generator = Generator(32, 8, attention=AttentionSpec((16,)))
    with pytest.raises(ValueError, match=r"no attention layer 'x': choose from \w+"):
        cut_samples(generator, "x", cut_everything, 1)


def test_the_change_is_counted_inside_and_outside_a_region():
    before = np.zeros((2, 2, 2, 3), np.uint8)
    after = before.copy()
    after[0, 0, 0] = (30, 0, 0)  # 10 on average
    after[0, 1, 1] = (90, 90, 90)
    effect = Effect(before, after)
    np.testing.assert_array_equal(effect.change()[0], [[10, 0], [0, 90]])
    region = np.array([[True, True], [False, False]])
    share = effect.share_inside(region)
    assert share[0] == pytest.approx(0.1)
    assert np.isnan(share[1])
