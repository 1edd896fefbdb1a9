"""On real images (OpenMoji) and the default features, worse copies get worse numbers."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from sagan.data.sources.openmoji import OpenMojiSource, draw_emoji
from sagan.metrics.features.network import open_network
from sagan.metrics.measures.density_coverage import density_coverage
from sagan.metrics.measures.frechet import frechet_distance
from sagan.metrics.measures.kernel import kernel_distance
from sagan.metrics.measures.precision_recall import precision_recall
from sagan.types import Float32Array, UInt8Array

SIZE, EACH = 32, 40  # pixels, images of each kind in a set
# By the first digits of their code points, which begin the names of the files.
KINDS = {"flags": "1F1", "people": "1F468", "things": "1F5"}

Features = dict[str, Float32Array]


def drawings(kind: str) -> UInt8Array:
    """Return 3 * EACH images of a kind, spaced, since neighbors are variants of each other."""
    emoji = [p for p in OpenMojiSource().images() if p.name.startswith(KINDS[kind])]
    chosen = np.linspace(0, len(emoji) - 1, 3 * EACH).astype(int)
    return np.stack([draw_emoji(emoji[i].read(), SIZE, "crop") for i in chosen])


def blurred(images: UInt8Array, radius: float) -> UInt8Array:
    filters = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(image).filter(filters)) for image in images])


def noisy(images: UInt8Array, deviation: float) -> UInt8Array:
    noise = np.random.default_rng(0).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def features() -> Features:
    """Features of two sets of real images, and of worse copies of the second."""
    flags, people, things = (drawings(kind) for kind in KINDS)
    second = np.concatenate([kind[1::3] for kind in (flags, people, things)])
    sets = {
        "real": np.concatenate([kind[::3] for kind in (flags, people, things)]),
        "second": second,
        "little blurred": blurred(second, 0.7),
        "much blurred": blurred(second, 2),
        "little noisy": noisy(second, 12),
        "much noisy": noisy(second, 60),
        "without flags": np.concatenate([people[1::2], things[1::2]]),
    }
    network = open_network("efficientnet-lite0")
    return {name: network(torch.from_numpy(images))[0].numpy() for name, images in sets.items()}


def measured(features: Features, metric: str, name: str) -> float:
    samples, real = features[name], features["real"]
    match metric:
        case "frechet":
            return frechet_distance(samples, real)
        case "kernel":
            return kernel_distance(samples, real, seed=0, subsets=1)[0]
        case "precision":
            return -precision_recall(samples, real)[0]
        case _:
            return -density_coverage(samples, real)[1]


@pytest.mark.parametrize("metric", ["frechet", "kernel", "precision", "coverage"])
def test_more_blur_or_noise_gives_worse_numbers(features: Features, metric: str) -> None:
    for change in ("blurred", "noisy"):
        names = ("second", f"little {change}", f"much {change}")
        values = [measured(features, metric, name) for name in names]
        assert values == sorted(values), (change, values)
        assert values[0] < values[2] - 0.2 * abs(values[2])


def test_a_missing_class_costs_distance_and_coverage_but_not_precision(
    features: Features,
) -> None:
    """As many images, all of them good, but no flags, which are a third of the real ones."""
    real, second, dropped = (features[name] for name in ("real", "second", "without flags"))
    assert len(second) == len(dropped)
    for metric in ("frechet", "kernel"):
        assert measured(features, metric, "without flags") > measured(features, metric, "second")
    coverage, whole = (density_coverage(samples, real)[1] for samples in (dropped, second))
    assert coverage == pytest.approx(2 / 3, abs=0.1)
    assert whole > 0.9
    assert precision_recall(dropped, real)[0] >= precision_recall(second, real)[0]


def test_real_images_score_nearly_perfectly_against_real_images(features: Features) -> None:
    real, second = features["real"], features["second"]
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-3)
    distance, noisy_distance = (
        kernel_distance(samples, real, seed=0, subsets=1)[0]
        for samples in (second, features["much noisy"])
    )
    assert abs(distance) < 0.05 * noisy_distance
    density, coverage = density_coverage(second, real)
    assert density > 0.6
    assert coverage > 0.8
