"""The models inside the package match their cards and are small enough to be shipped."""

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sagan.config import MAY_CHANGE, resolve
from sagan.model import load_discriminator, open_model, shipped_models
from sagan.training.assignments import parse_assignments

SHIPPED = shipped_models()
DOCS = Path(__file__).parents[2] / "docs"
MEBIBYTE = 2**20


def recipe(card: str) -> list[str]:
    """Return the words of the training command in a model card."""
    (command,) = re.findall(r"^    (sagan train .*)$", card, re.MULTILINE)
    return shlex.split(command)


def values_of(option: str, words: list[str]) -> list[str]:
    return [value for name, value in pairwise(words) if name == option]


def test_a_conditional_and_an_unconditional_model_are_shipped() -> None:
    conditional = {name: bool(open_model(name).classes) for name in SHIPPED}
    assert conditional == {"avatars-64": True, "cifar10-32": True, "openmoji-64": False}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_numbers_in_the_docs_are_those_of_the_shipped_weights(name: str) -> None:
    model = open_model(name)
    kept = json.loads((DOCS / "results" / f"{name}.json").read_text(encoding="utf-8"))
    assert kept["model"] == {"origin": name, "step": model.step, "sha256": model.sha256()}
    in_card = dict(re.findall(r"^\| ([\w-]+)[^|]*\| ([\d.]+) \|", model.card, re.MULTILINE))
    for metric in ("FD-EfficientNet", "KD-EfficientNet", "precision", "recall", "coverage"):
        digits = len(in_card[metric].partition(".")[2])
        assert in_card[metric] == f"{kept['metrics'][metric]:.{digits}f}", metric


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_smaller_than_8_mebibytes(name: str) -> None:
    assert SHIPPED[name].stat().st_size < 8 * MEBIBYTE


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_models_card_is_the_file_beside_it(name: str) -> None:
    card = open_model(name).card
    assert card == SHIPPED[name].with_suffix(".md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n")
    for heading in ("Data", "Recipe", "Numbers", "Weaknesses"):
        assert f"\n## {heading}\n" in card


@pytest.mark.parametrize("name", SHIPPED)
def test_the_recipe_in_a_card_is_that_of_the_model(name: str) -> None:
    model = open_model(name)
    words = recipe(model.card)
    (preset,), (steps,) = values_of("--preset", words), values_of("--steps", words)
    recipe_config = resolve(preset, parse_assignments(values_of("--set", words))).model_dump()
    own = model.config.model_dump()
    ignored = {*MAY_CHANGE, "conditional"}  # null in a preset: it depends on the data
    assert {k: v for k, v in recipe_config.items() if k not in ignored} == {
        k: v for k, v in own.items() if k not in ignored
    }
    assert int(steps) == model.step


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_draws_distinct_images_that_its_discriminator_accepts(name: str) -> None:
    model = open_model(name)
    labels = [0, 0, 1, 1] if model.classes else None
    images, maps = model.generator().sample(4, labels=labels, return_attention=True)
    assert images.std(axis=(1, 2)).min() > 1  # not of one color
    assert np.abs(images[0].astype(int) - images[1]).mean() > 5  # and not all the same
    assert all(np.abs(m.sum(-1) - 1).max() < 1e-4 for m in maps.values())
    assert len(maps) >= 1
    assert load_discriminator(name).features(images).shape[0] == 4
