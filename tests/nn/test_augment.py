"""Transformations match a loop over images, rows and pixels; p matches a calculation by hand."""

import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sagan.nn.augment import (
    ADAPTIVE_IMAGES,
    NUMBERS,
    AdaptiveAugment,
    augment,
    color,
    cutout,
    mirrored,
    translation,
)

Transformation = Callable[[Tensor, Tensor, Tensor], Tensor]


def seeded_rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(
    num: int, height: int = 16, width: int = 16, dtype: torch.dtype = torch.float32
) -> Tensor:
    return 2 * torch.rand(num, 3, height, width, generator=seeded_rng(1), dtype=dtype) - 1


def numbers(num: int, seed: int = 0) -> Tensor:
    """Random numbers for all three transformations."""
    return torch.rand(num, 3, NUMBERS, generator=seeded_rng(seed))


def choices(num: int) -> tuple[Tensor, Tensor]:
    """Return the images to change, two of three, and numbers in [0, 1) with both extremes."""
    uniform = torch.rand(num, 3, generator=seeded_rng(2))
    uniform[1], uniform[2] = 0.0, 1 - 2**-24
    return torch.arange(num) % 3 != 0, uniform


def test_opacity_keeps_its_values_and_gray_stays_gray() -> None:
    images = torch.rand(8, 4, 16, 16, generator=seeded_rng(3)) * 2 - 1
    changed = color(images, *choices(8))
    assert torch.equal(changed[:, 3], images[:, 3])
    assert torch.equal(changed[:, :3], color(images[:, :3], *choices(8)))
    assert color(images[:, :1], *choices(8)).shape == (8, 1, 16, 16)
    assert augment(images, 1.0, numbers(8)).shape == images.shape


# ---------------------------------------------------------------------------------------------
# All transformations together


def test_a_p_of_0_returns_the_same_tensor() -> None:
    images = random_images(3)
    assert augment(images, 0, numbers(3)) is images
    assert augment(images, 0.0, numbers(3)) is images


def test_a_p_of_1_changes_every_image() -> None:
    images = random_images(200)
    changed = (augment(images, 1.0, numbers(200)) != images).flatten(1).any(1)
    assert changed.all()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_each_transformation_is_applied_independently_with_probability_p(p: float) -> None:
    """An image keeps all its bits only if nothing is applied, with probability (1 - p)^3.

    (Or if it is shifted by (0, 0) pixels: here one of 64 shifted images.)
    """
    images = random_images(4000, 32, 32)[:, :, :1, :].expand(-1, -1, 32, -1)
    same = (augment(images, p, numbers(4000)) == images).flatten(1).all(1).float().mean()
    untouched = (1 - p) ** 2 * (1 - p + p / 64)
    assert abs(float(same) - untouched) < 5 * math.sqrt(untouched * (1 - untouched) / 4000)


@pytest.mark.parametrize("names", [("translation",), ("cutout", "color"), ("color",)])
def test_only_the_named_transformations_are_applied_in_their_order(names: tuple[str, ...]) -> None:
    functions = {"color": color, "translation": translation, "cutout": cutout}
    images, uniform = random_images(20), torch.rand(20, len(names), NUMBERS)
    expected = images
    for i, name in enumerate(names):
        expected = functions[name](expected, uniform[:, i, 0] < 0.6, uniform[:, i, 1:])
    assert not torch.equal(expected, images)
    assert torch.equal(augment(images, 0.6, uniform, names), expected)


def test_random_numbers_for_another_number_of_transformations_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        augment(random_images(2), 0.5, numbers(2)[:, :2])


def test_images_depend_only_on_the_random_numbers() -> None:
    images = random_images(8)
    first = augment(images, 0.7, numbers(8, seed=4))
    assert torch.equal(first, augment(images, 0.7, numbers(8, seed=4)))
    assert not torch.equal(first, augment(images, 0.7, numbers(8, seed=5)))


def test_the_given_images_are_not_changed() -> None:
    images = random_images(8)
    before = images.clone()
    augment(images, 1.0, numbers(8))
    assert torch.equal(images, before)


def test_memory_layout_does_not_change_pixels() -> None:
    images = random_images(5)
    last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        augment(images, 0.8, numbers(5)), augment(last, 0.8, numbers(5)), rtol=1e-6, atol=1e-6
    )


def test_half_of_the_images_are_mirrored_left_to_right_and_the_others_unchanged() -> None:
    images = random_images(1, 2, 3).expand(10_000, -1, -1, -1)
    found = mirrored(images, torch.rand(10_000))
    flipped = (found == images[:1].flip(3)).flatten(1).all(1)
    assert (flipped ^ (found == images).flatten(1).all(1)).all()
    assert abs(int(flipped.sum()) - 5000) < 200  # four standard deviations


# ---------------------------------------------------------------------------------------------
# Each transformation, pixel by pixel


def color_oracle(image: Tensor, uniform: list[float]) -> Tensor:
    """Zhao et al. 2020: x + (u - .5); (x - gray) * 2u + gray; (x - mean) * (u + .5) + mean."""
    image = image.clone() + (uniform[0] - 0.5)
    channels, height, width = image.shape
    for i in range(height):
        for j in range(width):
            gray = sum(float(image[c, i, j]) for c in range(channels)) / channels
            for c in range(channels):
                image[c, i, j] = gray + (image[c, i, j] - gray) * 2 * uniform[1]
    mean = float(image.sum()) / image.numel()
    return mean + (image - mean) * (uniform[2] + 0.5)


def translation_oracle(image: Tensor, uniform: list[float]) -> Tensor:
    """out[i, j] = in[i + a, j + b], 0 outside; integers a and b uniform in -side/8 .. side/8."""
    _, height, width = image.shape
    rows, columns = round(height / 8), round(width / 8)
    a = int(uniform[0] * (2 * rows + 1)) - rows
    b = int(uniform[1] * (2 * columns + 1)) - columns
    moved = torch.zeros_like(image)
    for i in range(height):
        for j in range(width):
            if 0 <= i + a < height and 0 <= j + b < width:
                moved[:, i, j] = image[:, i + a, j + b]
    return moved


def cutout_oracle(image: Tensor, uniform: list[float]) -> Tensor:
    """Pixels with centers less than a quarter side from the point (uniform * side) are 0."""
    image = image.clone()
    _, height, width = image.shape
    for i in range(height):
        for j in range(width):
            in_rows = abs(i + 0.5 - uniform[0] * height) < height / 4
            if in_rows and abs(j + 0.5 - uniform[1] * width) < width / 4:
                image[:, i, j] = 0
    return image


def test_cutout_leaves_pixels_whose_centers_lie_on_the_edge_of_its_square() -> None:
    center = torch.tensor([[4.5 / 16, 8.5 / 16, 0]])  # the center of a pixel
    found = cutout(torch.ones(1, 3, 16, 16), torch.tensor([True]), center)
    expected = torch.ones(1, 3, 16, 16)
    expected[:, :, 1:8, 5:12] = 0
    assert torch.equal(found, expected)


CASES: list[tuple[Transformation, Callable[[Tensor, list[float]], Tensor]]] = [
    (color, color_oracle),
    (translation, translation_oracle),
    (cutout, cutout_oracle),
]


@pytest.mark.parametrize(("transformation", "oracle"), CASES)
@pytest.mark.parametrize("sides", [(16, 16), (8, 24), (5, 7)])
def test_a_transformation_equals_a_loop_over_pixels_with_the_same_random_numbers(
    transformation: Transformation,
    oracle: Callable[[Tensor, list[float]], Tensor],
    sides: tuple[int, int],
) -> None:
    images = random_images(9, *sides)
    chosen, uniform = choices(9)
    actual = transformation(images, chosen, uniform)
    assert actual.shape == images.shape
    for i in range(9):
        expected = images[i]
        if chosen[i]:
            expected = oracle(images[i].double(), uniform[i].tolist()).float()
            torch.testing.assert_close(actual[i], expected, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(actual[i], expected)


@pytest.mark.parametrize("seed", range(3))
def test_augment_is_color_then_translation_then_cutout_each_with_its_own_random_numbers(
    seed: int,
) -> None:
    images = random_images(6)
    uniform = numbers(6, seed)
    expected = images
    for i, transformation in enumerate((color, translation, cutout)):
        expected = transformation(expected, uniform[:, i, 0] < 0.4, uniform[:, i, 1:])
    assert torch.equal(augment(images, 0.4, uniform), expected)


def test_brightness_saturation_and_contrast_reach_the_ends_of_their_ranges() -> None:
    image = torch.tensor([0.9, 0.3, -0.3]).view(1, 3, 1, 1).repeat(1, 1, 1, 2)
    image[..., 1] = -0.6  # a colored pixel beside a gray one
    chosen = torch.tensor([True])

    def changed(brightness: float, saturation: float, contrast: float) -> Tensor:
        return color(image, chosen, torch.tensor([[brightness, saturation, contrast]]))[0]

    neutral = changed(0.5, 0.5, 0.5)
    torch.testing.assert_close(neutral, image[0])
    torch.testing.assert_close(changed(0.0, 0.5, 0.5), image[0] - 0.5)
    torch.testing.assert_close(changed(1.0, 0.5, 0.5), image[0] + 0.5)
    torch.testing.assert_close(changed(0.5, 0.0, 0.5)[:, 0, 0], torch.full((3,), 0.3))
    torch.testing.assert_close(changed(0.5, 1.0, 0.5)[:, 0, 0], torch.tensor([1.5, 0.3, -0.9]))
    torch.testing.assert_close(changed(0.5, 0.5, 0.0), (image[0] + -0.15) / 2)
    torch.testing.assert_close(changed(0.5, 0.5, 1.0), 1.5 * image[0] - 0.5 * -0.15)


def test_shifts_reach_an_eighth_of_the_side_in_each_direction() -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, 10, 20] = 1
    found = set()
    for a in (0.0, 0.5, 0.9999):
        for b in (0.0, 0.5, 0.9999):
            moved = translation(image, torch.tensor([True]), torch.tensor([[a, b, 0.0]]))
            found.add(tuple(moved[0, 0].nonzero()[0].tolist()))
    assert found == {(i, j) for i in (6, 10, 14) for j in (16, 20, 24)}


def test_all_shifts_are_equally_frequent() -> None:
    """Zhao et al. draw integers uniformly."""
    image = torch.zeros(1, 3, 16, 16)
    image[:, :, 8, 8] = 1
    uniform = torch.rand(2000, 3, generator=seeded_rng(8))
    moved = translation(image.expand(2000, -1, -1, -1), torch.ones(2000, dtype=torch.bool), uniform)
    rows = moved[:, 0].nonzero()[:, 1]
    counts = torch.bincount(rows, minlength=16)[6:11]
    assert int(counts.sum()) == 2000
    expected = torch.full((5,), 400.0)
    assert ((counts - expected).square() / expected).sum() < 23.5  # 4 dof: p > 1e-4


def test_cutout_around_a_point_inside_removes_a_quarter_of_the_image() -> None:
    images = torch.ones(50, 3, 32, 32)
    uniform = 0.25 + 0.5 * torch.rand(50, 3, generator=seeded_rng(9))
    removed = (cutout(images, torch.ones(50, dtype=torch.bool), uniform) == 0)[:, 0]
    sides = [(int(r.any(1).sum()), int(r.any(0).sum())) for r in removed]
    assert set(sum(sides, ())) <= {15, 16, 17}
    assert [int(r.sum()) for r in removed] == [a * b for a, b in sides]  # one rectangle each


# ---------------------------------------------------------------------------------------------
# Derivatives


def test_the_derivative_of_color_matches_finite_differences() -> None:
    images = random_images(3, 4, 4, torch.float64).requires_grad_()
    chosen, uniform = choices(3)
    uniform = torch.rand(3, 3, generator=seeded_rng(3), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: color(x, chosen, uniform), (images,))


@pytest.mark.parametrize(
    ("transformation", "oracle"), [(translation, translation_oracle), (cutout, cutout_oracle)]
)
def test_moving_or_removing_pixels_moves_or_removes_their_gradients(
    transformation: Transformation, oracle: Callable[[Tensor, list[float]], Tensor]
) -> None:
    """Both are linear: column k of the Jacobian is the oracle's result for the k-th unit image."""
    size = 3 * 8 * 8
    uniform = [0.9, 0.2, 0.5]
    image = random_images(1, 8, 8, torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: transformation(x, torch.tensor([True]), torch.tensor([uniform])), image
    ).reshape(size, size)
    for k in range(0, size, 7):
        unit = torch.zeros(size, dtype=torch.float64)
        unit[k] = 1
        assert torch.equal(jacobian[:, k], oracle(unit.view(3, 8, 8), uniform).flatten())
    assert 0 < int(jacobian.sum()) < size


# ---------------------------------------------------------------------------------------------
# The adaptive probability


def alone(tensor: Tensor) -> Tensor:
    """Return the mean over one process."""
    return tensor


def logits(share_positive: float, num: int = 10) -> Tensor:
    """Return logits with r = 2 * share_positive - 1."""
    positive = round(share_positive * num)
    return torch.tensor([0.3] * positive + [-2.0] * (num - positive))


def run(adaptive: AdaptiveAugment, shares: list[float]) -> list[float]:
    """Return p after each of `len(shares)` updates of 10 images."""
    found = []
    for share in shares:
        adaptive.observe(logits(share))
        adaptive.adjust(10, alone)
        found.append(adaptive.p)
    return found


def test_p_follows_a_sequence_computed_by_hand() -> None:
    """16 updates of 10 images are a tenth of the 1,600 that take p from 0 to 1."""
    adaptive = AdaptiveAugment(p=0.0, images_to_full=1600)
    assert AdaptiveAugment.ADJUST_EVERY == 16
    assert AdaptiveAugment.TARGET == 0.6
    found = run(adaptive, [1.0] * 16)  # r = 1
    assert found == [0.0] * 15 + [pytest.approx(0.1)]
    assert run(adaptive, [0.9] * 16)[-1] == pytest.approx(0.2)  # r = 0.8
    assert run(adaptive, [0.7] * 16)[-1] == pytest.approx(0.1)  # r = 0.4
    assert run(adaptive, [1.0] * 12 + [0.1] * 4)[-1] == pytest.approx(0.0)  # r = 0.55
    assert run(adaptive, [1.0] * 13 + [0.0, 0.2, 0.4])[-1] == pytest.approx(0.1)  # r = 0.7


def test_p_is_clamped_to_the_unit_interval() -> None:
    adaptive = AdaptiveAugment(p=0.5, images_to_full=400)  # changes by 0.4
    assert [run(adaptive, [1.0] * 16)[-1] for _ in range(3)] == [pytest.approx(0.9), 1.0, 1.0]
    assert [run(adaptive, [0.0] * 16)[-1] for _ in range(4)] == [
        pytest.approx(0.6), pytest.approx(0.2), 0.0, 0.0,
    ]  # fmt: skip


def test_observations_count_only_until_the_next_adjustment() -> None:
    adaptive = AdaptiveAugment(p=0.5, images_to_full=1600)
    assert run(adaptive, [1.0] * 16)[-1] == pytest.approx(0.6)
    assert run(adaptive, [0.7] * 16)[-1] == pytest.approx(0.5)  # r = 0.4, though 0.7 over both


def test_p_stays_at_exactly_the_target() -> None:
    adaptive = AdaptiveAugment(p=0.5, images_to_full=1600)
    assert run(adaptive, [0.8] * 16)[-1] == 0.5  # r = 0.6
    assert adaptive.state_dict() == {"p": 0.5, "signs": 0, "images": 0, "updates": 0}


def test_a_logit_of_0_counts_for_neither_side() -> None:
    adaptive = AdaptiveAugment(p=0.5, images_to_full=1600)
    adaptive.observe(torch.tensor([0.0, -0.0, 1e-30, 1e30, -1e-30]))
    assert adaptive.state_dict()["signs"] == 1


def test_signs_of_half_precision_logits_are_counted_exactly() -> None:
    """A sum in bfloat16 would stop at 256."""
    adaptive = AdaptiveAugment(p=0.5, images_to_full=1600)
    for _ in range(400):
        adaptive.observe(torch.ones(3, dtype=torch.bfloat16))
    assert adaptive.state_dict()["signs"] == 1200


def test_p_takes_100_000_real_images_from_0_to_1_by_default() -> None:
    """As the code of Karras et al. for CIFAR-10."""
    assert ADAPTIVE_IMAGES == 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"p": 1.01}, {"p": -0.01}, {"p": math.nan}, {"signs": math.nan}, {"signs": math.inf},
        {"images": -1}, {"updates": -1},
    ],
    ids=str,
)  # fmt: skip
def test_an_impossible_state_is_refused_and_changes_nothing(change: dict[str, float]) -> None:
    adaptive = AdaptiveAugment(p=0.2, images_to_full=977)
    before = adaptive.state_dict()
    with pytest.raises(ValueError, match="not the state"):
        adaptive.load_state_dict(before | {"p": 0.3, "images": 5} | change)
    assert adaptive.state_dict() == before


def test_several_micro_batches_in_an_update_count_as_one_update() -> None:
    whole, parts = (AdaptiveAugment(p=0.2, images_to_full=1600) for _ in range(2))
    for _ in range(16):
        whole.observe(logits(0.9))
        parts.observe(logits(0.9)[:5])
        parts.observe(logits(0.9)[5:])
        whole.adjust(10, alone)
        parts.adjust(10, alone)
    assert whole.state_dict() == parts.state_dict()
    assert whole.p == pytest.approx(0.3)


def test_p_follows_the_mean_over_processes() -> None:
    """This process sees r = 1, the other r = 0: 0.5 is below the target."""
    adaptive = AdaptiveAugment(p=0.5, images_to_full=1600)
    for _ in range(16):
        adaptive.observe(logits(1.0))
        adaptive.adjust(10, lambda tensor: tensor / 2)
    assert adaptive.p == pytest.approx(0.4)


@pytest.mark.parametrize("sign_of_nan", [0.0, math.nan])
def test_a_logit_that_is_not_a_number_counts_as_undecided_and_the_state_can_be_restored(
    sign_of_nan: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update with such a logit may be dropped, and training continues.

    On CPUs torch's sign of NaN is 0. Its documentation does not say so, and NumPy's is NaN.
    """
    sign = torch.Tensor.sign
    monkeypatch.setattr(
        torch.Tensor, "sign", lambda x: torch.where(x.isnan(), sign_of_nan, sign(x))
    )
    adaptive = AdaptiveAugment(p=0.2, images_to_full=977)
    adaptive.observe(torch.tensor([math.nan, 1.0, 1.0, -math.inf]))
    adaptive.adjust(4, alone)
    state = json.loads(json.dumps(adaptive.state_dict()))
    assert state == {"p": 0.2, "signs": 1.0, "images": 4, "updates": 1}
    restored = AdaptiveAugment(p=0.9, images_to_full=977)
    restored.load_state_dict(state)
    assert restored.state_dict() == state


def test_a_fixed_p_never_changes() -> None:
    for p in (0.0, 0.3, 1.0):
        adaptive = AdaptiveAugment(p=p, images_to_full=math.inf)
        assert set(run(adaptive, [1.0] * 40 + [0.0] * 40)) == {p}


@pytest.mark.parametrize("interrupted_after", [0, 1, 7, 15, 16, 31])
def test_p_is_the_same_after_saving_and_restoring_in_between(interrupted_after: int) -> None:
    shares = [1.0, 0.9, 0.6, 1.0, 0.8] * 16
    whole, parts = (AdaptiveAugment(p=0.2, images_to_full=977) for _ in range(2))
    expected = run(whole, shares)
    found = run(parts, shares[:interrupted_after])
    state = json.loads(json.dumps(parts.state_dict()))
    restored = AdaptiveAugment(p=0.9, images_to_full=977)
    restored.load_state_dict(state)
    assert restored.state_dict() == state
    assert found + run(restored, shares[interrupted_after:]) == expected
    assert len(set(expected)) > 3


def test_synchronizing_averages_over_the_processes() -> None:
    adaptive = AdaptiveAugment(p=0.2, images_to_full=977)
    run(adaptive, [1.0, 0.8])  # signs: 10 + 6
    adaptive.synchronize(lambda tensor: tensor - 4)
    assert adaptive.state_dict() == {"p": 0.2, "signs": 12.0, "images": 20, "updates": 2}
