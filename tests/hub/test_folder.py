"""A model's folder for the hub has all of the model, and a card that the hub understands."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from sagan import Generator, load_discriminator, load_generator
from sagan.errors import SaganError
from sagan.hub.folder import is_hub_folder
from sagan.model import Model, open_model


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(SaganError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def metadata_of(folder: Path) -> dict[str, object]:
    text = (folder / "README.md").read_text()
    _, metadata, _ = text.split("---\n", 2)
    return yaml.safe_load(metadata)


def test_a_saved_folder_is_the_same_model_bit_for_bit(
    model: Model, model_file: Path, tmp_path: Path
) -> None:
    generator = load_generator(model_file)
    generator.save_pretrained(tmp_path / "hub")
    assert {path.name for path in (tmp_path / "hub").iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    saved = open_model(tmp_path / "hub")
    for network in ("ema", "discriminator"):
        own, others = model.read(network), saved.read(network)
        assert own.keys() == others.keys()
        assert all(torch.equal(own[name], others[name]) for name in own)
    assert replace(saved, origin="", read=len) == replace(model, origin="", read=len)
    images = generator.sample(3, labels=[0, 1, 2])
    assert np.array_equal(load_generator(tmp_path / "hub").sample(3, labels=[0, 1, 2]), images)
    load_discriminator(tmp_path / "hub")


def test_a_folder_saved_again_has_the_same_card_and_settings(model: Model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "a" / "same")
    open_model(tmp_path / "a" / "same").save_pretrained(tmp_path / "b" / "same")
    for name in ("README.md", "config.json"):
        first, second = (tmp_path / folder / "same" / name for folder in "ab")
        assert first.read_bytes() == second.read_bytes(), name


def test_config_json_has_the_configuration_and_the_classes(model: Model, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["config"] == model.config.model_dump(mode="json")
    assert content["classes"] == ["cat", "dog", "owl"]
    assert content["step"] == 6


def test_the_card_has_metadata_that_the_hub_understands(model: Model, tmp_path: Path) -> None:
    replace(model, dataset="hf:anna/birds").save_pretrained(tmp_path, license="cc-by-4.0")
    assert metadata_of(tmp_path) == {
        "license": "cc-by-4.0",
        "library_name": "torch-sagan",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["gan", "sagan", "self-attention", "image-generation", "class-conditional"],
        "datasets": ["anna/birds"],
    }
    model.save_pretrained(tmp_path)
    assert not {"license", "datasets"} & metadata_of(tmp_path).keys()


def test_a_card_keeps_its_text_and_metadata_and_gets_what_it_lacks(
    model: Model, tmp_path: Path
) -> None:
    card = "---\nlicense: mit\ntags:\n- birds\n---\n# Birds\n\nMine.\n"
    model.save_pretrained(tmp_path, card)
    found = metadata_of(tmp_path)
    assert (found["license"], found["tags"]) == ("mit", ["birds"])
    assert found["library_name"] == "torch-sagan"
    text = (tmp_path / "README.md").read_text()
    assert "\n---\n\n# Birds\n\nMine.\n\n## Use\n" in text
    assert open_model(tmp_path).card == card
    assert "license" in refusal(lambda: model.save_pretrained(tmp_path, card, "mit"))
    assert "identifier" in refusal(lambda: model.save_pretrained(tmp_path, "", "MIT: yes\nx"))


def test_every_card_names_who_made_the_training_images(model: Model, tmp_path: Path) -> None:
    credited = replace(model, credits="Faces by Anna\nEyes by Bert")
    for card in ("", "# Mine"):
        credited.save_pretrained(tmp_path, card)
        text = (tmp_path / "README.md").read_text()
        assert text.endswith(
            "## Credits\n\nThe training images:\n\n* Faces by Anna\n* Eyes by Bert\n"
        )


def test_names_and_credits_cannot_be_markup_in_a_card(model: Model, tmp_path: Path) -> None:
    names = ("<script>", "a\n## b", "![x](y)")
    replace(model, classes=names, credits="<b>\n---").save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "<script>" not in text
    assert "\n## b" not in text
    assert "![x]" not in text
    assert "<b>" not in text
    assert metadata_of(tmp_path)["library_name"] == "torch-sagan"


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_files_of_others_are_not_replaced(name: str, model: Model, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    assert name in refusal(lambda: model.save_pretrained(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_links_in_a_folder_are_neither_read_nor_written(
    model: Model, weights: bytes, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_bytes(weights)
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in refusal(lambda: load_generator(tmp_path / "hub"))
    assert "is a link" in refusal(lambda: model.save_pretrained(tmp_path / "hub"))


def test_a_model_file_inside_a_run_does_not_hide_the_run(weights: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(weights)
    assert is_hub_folder(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    assert not is_hub_folder(tmp_path)
    assert "config.json" in refusal(lambda: open_model(tmp_path))


def test_only_a_generator_with_the_models_averaged_weights_is_saved(
    model: Model, model_file: Path, tmp_path: Path
) -> None:
    read = {"generator": {name: tensor + 1 for name, tensor in model.read("ema").items()}}
    raw = replace(model, read=lambda name: read.get(name) or model.read(name)).generator("raw")
    assert "averaged" in refusal(lambda: raw.save_pretrained(tmp_path))
    changed = load_generator(model_file)
    next(changed.parameters()).add_(1)
    assert "averaged" in refusal(lambda: changed.save_pretrained(tmp_path))
    with pytest.raises(ValueError, match="load_generator"):
        Generator(32, width=8).save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_loaded_generator_can_be_pickled_and_still_be_saved(
    model_file: Path, tmp_path: Path
) -> None:
    copied = pickle.loads(pickle.dumps(load_generator(model_file)))
    copied.save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors")
