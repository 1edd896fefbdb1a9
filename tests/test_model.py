"""Models load as they were exported; anything else is refused in one line."""

import json
import os
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sagan.build import build_networks, check_map_memory
from sagan.config import resolve
from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.explain.draw import DEFAULT_DOTS, explain_samples
from sagan.explorer.renderer import Renderer
from sagan.model import (
    Model,
    export_model,
    load_discriminator,
    load_generator,
    open_model,
    shipped_models,
)


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "copied")


@pytest.fixture(scope="session")
def model_file(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "model.safetensors"
    export_model(open_model(finished_run), out, card="# A card")
    return out


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.usefixtures("no_images")
def test_a_model_knows_how_its_images_were_made_square(
    fit: str, labeled: PackedDataset, train_run: Callable[..., Path], tmp_path: Path
) -> None:
    packed = shutil.copytree(labeled.path, tmp_path / "packed")
    manifest = json.loads((packed / "pack.json").read_text()) | {"fit": fit}
    (packed / "pack.json").write_text(json.dumps(manifest))
    run = train_run(tmp_path / "run", PackedDataset.open(packed), steps=1)
    export_model(open_model(run), tmp_path / "model.safetensors")
    assert open_model(run).fit == open_model(tmp_path / "model.safetensors").fit == fit


def test_what_a_projected_discriminator_sees_through_is_in_no_file(
    labeled: PackedDataset, train_run: Callable[..., Path], tmp_path: Path, no_images: None
) -> None:
    """Its frozen network alone would be 13 MB, in the run and in the model file."""
    run = train_run(tmp_path / "run", labeled, steps=1, family="projected")
    trained = open_model(run)
    export_model(trained, tmp_path / "model.safetensors")
    assert not any("backbone" in name for name in trained.read("discriminator"))
    files = [file for file in tmp_path.rglob("*.safetensors") if file.is_file()]
    assert len(files) > 1
    assert max(file.stat().st_size for file in files) < 2e6
    images = labeled.images[:2]
    expected = trained.discriminator().features(images)
    found = load_discriminator(tmp_path / "model.safetensors").features(images)
    np.testing.assert_array_equal(found, expected)


WITHOUT_DRAWING_WEIGHTS = """
import sys
from sagan import load_discriminator, load_generator
from sagan.build import build_meta_networks
from sagan.config import resolve

def check(action, *arguments):
    action(*arguments)
    assert "torch._dynamo" not in sys.modules, action

check(load_generator, sys.argv[1])
check(load_discriminator, sys.argv[1])
check(build_meta_networks, resolve("cpu-32", {"conditional": True}), 10)
"""


def test_without_drawing_weights_torchs_compiler_is_not_imported(model_file: Path) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_DRAWING_WEIGHTS, str(model_file)], check=True)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(SaganError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def samples(generator: Any) -> Any:
    return generator.sample(5, labels=[0, 1, 2, 0, 1], seed=3)


def test_a_model_file_draws_the_same_samples_as_the_runs_average(
    finished_run: Path, model_file: Path
) -> None:
    from_run, from_file = load_generator(finished_run), load_generator(model_file)
    assert np.array_equal(samples(from_run), samples(from_file))
    assert not np.array_equal(samples(from_run), samples(load_generator(finished_run, "raw")))
    newest = finished_run / "checkpoints" / "step-00000006"
    ema = load_file(newest / "ema.safetensors")
    stored = load_file(model_file)
    for name, tensor in ema.items():
        assert torch.equal(stored[f"generator.{name}"], tensor)
    assert {name.split(".")[0] for name in stored} == {"generator", "discriminator"}


def test_raw_weights_are_those_of_the_last_update(
    finished_run: Path, labeled: PackedDataset, start_training: Callable[..., Any]
) -> None:
    training = start_training(labeled, ema_half_life=20)
    for _ in range(6):
        training.advance()
    for weights, network in (
        ("raw", training.adversaries.generator),
        ("ema", training.average.generator),
    ):
        loaded = load_generator(finished_run, weights)
        # Folding rounds differently: by up to one gray level.
        difference = samples(loaded).astype(int) - samples(network)
        assert abs(difference).max() <= 1


def test_run_and_model_file_give_the_same_discriminator(
    finished_run: Path, model_file: Path, labeled: PackedDataset
) -> None:
    images = np.array(labeled.images[:4])
    one, other = load_discriminator(finished_run), load_discriminator(model_file)
    assert np.array_equal(one.features(images), other.features(images))
    assert not one.training
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_a_model_file_knows_its_configuration_classes_step_and_card(
    finished_run: Path, model_file: Path
) -> None:
    from_run, from_file = open_model(finished_run), open_model(str(model_file))
    assert from_file.config == from_run.config
    assert from_file.classes == from_run.classes == ("class0", "class1", "class2")
    assert from_file.step == from_run.step == 6
    assert from_file.card == "# A card"
    assert from_file.labels("class2, 0") == [2, 0]
    assert "class9" in refusal(lambda: from_file.labels("class9"))
    assert "3" in refusal(lambda: from_file.labels("3"))
    assert "raw" in refusal(lambda: from_file.generator("raw"))


def test_a_shipped_models_origin_is_its_name() -> None:
    for name in shipped_models():
        assert open_model(name).origin == name


def test_exporting_a_model_file_again_keeps_everything(model_file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    export_model(open_model(model_file), again)
    one, other = load_file(model_file), load_file(again)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    first, second = open_model(model_file), open_model(again)
    for field in ("config", "classes", "step", "card"):
        assert getattr(first, field) == getattr(second, field)


def test_a_model_of_half_the_size_draws_and_judges_nearly_the_same(
    finished_run: Path, model_file: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.safetensors"
    export_model(open_model(finished_run), half, half=True)
    assert half.stat().st_size < 0.6 * model_file.stat().st_size
    images = load_generator(model_file).sample(12, labels=[0, 1, 2] * 4)
    others = load_generator(half).sample(12, labels=[0, 1, 2] * 4)
    assert 0 < np.abs(images.astype(int) - others).max() <= 1
    one, other = load_discriminator(model_file), load_discriminator(half)
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}
    features, approximate = one.features(images), other.features(images)
    assert 0 < np.abs(features - approximate).max() < 0.01 * np.abs(features).max()


def test_weights_beyond_half_precision_are_not_halved(finished_run: Path, tmp_path: Path) -> None:
    model, out = open_model(finished_run), tmp_path / "half.safetensors"
    large = replace(model, read=lambda name: {"weight": torch.full((2, 2), 1e5)})
    assert "without --half" in refusal(lambda: export_model(large, out, half=True))
    assert not out.exists()


def test_precisions_other_than_those_of_training_are_refused(finished_run: Path) -> None:
    with pytest.raises(ValueError, match="'float32', 'bfloat16' or 'float16', not 'float64'"):
        load_generator(finished_run, precision="float64")  # type: ignore[arg-type]


def test_samples_in_float16_differ_by_less_than_one_of_255_on_average(finished_run: Path) -> None:
    images, rough = (
        load_generator(finished_run, precision=precision).sample(3, labels=[0, 1, 2]).astype(int)
        for precision in ("float32", "float16")
    )
    assert 0 < np.abs(images - rough).mean() < 1


def test_weights_other_than_ema_and_raw_are_refused(finished_run: Path) -> None:
    with pytest.raises((SaganError, ValueError)):
        load_generator(finished_run, "average")


@pytest.mark.parametrize("name", ["no-such-model", "x" * 300, "a/b/c", "nul\0byte", "~"])
def test_a_missing_model_is_refused_in_one_line(name: str) -> None:
    message = refusal(lambda: load_generator(name))
    assert "cannot find the model" in message


def test_a_folder_that_is_not_a_run_is_refused_in_one_line(
    tmp_path: Path, finished_run: Path
) -> None:
    assert "config.json" in refusal(lambda: load_generator(tmp_path))
    for content in (b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"config": 1}',
                    b'{"config": {}, "preset": "x", "data": {}}',
                    b'{"config": {}, "preset": "x", "data": {"classes": 3}}',
                    b'{"config": {}, "preset": "x", "data": {"classes": "abc"}}',
                    b'{"config": {}, "preset": "x", "data": [1]}',
                    b'{"config": {"lr": 1}, "preset": "x", "data": {"classes": []}}',
                    b'{"config": {"lr_g": "x"}, "preset": "x", "data": {"classes": []}}',
                    ):  # fmt: skip
        (tmp_path / "config.json").write_bytes(content)
        refusal(lambda: load_generator(tmp_path))
    shutil.copy(finished_run / "config.json", tmp_path / "config.json")
    assert "no checkpoint yet" in refusal(lambda: load_generator(tmp_path))


def header(metadata: Any, tensors: Any = None) -> bytes:
    """A safetensors file with this header and 16 bytes of data."""
    text = json.dumps({"__metadata__": metadata, **(tensors or {})}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


TENSOR = {"generator.x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
GOOD = {"config": "{}", "classes": "[]", "step": "3"}
JUNK = {
    "empty": b"",
    "short": b"\0" * 7,
    "zeros": bytes(100),
    "huge header": struct.pack("<Q", 2**60) + b"{}",
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "random": np.random.default_rng(0).bytes(5000),
    "no metadata": header({}, TENSOR),
    "no classes": header({"config": "{}", "step": "1"}, TENSOR),
    "config not JSON": header(GOOD | {"config": "{"}, TENSOR),
    "config deep": header(GOOD | {"config": "[" * 100_000}, TENSOR),
    "config a list": header(GOOD | {"config": "[]"}, TENSOR),
    "config unknown key": header(GOOD | {"config": '{"x": 1}'}, TENSOR),
    "config null value": header(GOOD | {"config": '{"lr_g": null}'}, TENSOR),
    "classes an object": header(GOOD | {"classes": "{}"}, TENSOR),
    "step not a number": header(GOOD | {"step": "many"}, TENSOR),
    "other tensors": header(GOOD | {"config": '{"channels_g": 8, "channels_d": 8}'}, TENSOR),
    "offsets outside": header(
        GOOD, {"generator.x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 999]}}
    ),
    "shape too large": header(
        GOOD, {"generator.x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 16]}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", JUNK)
def test_a_file_that_is_not_a_model_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(JUNK[kind])
    refusal(lambda: load_generator(path))
    refusal(lambda: load_discriminator(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_a_device_in_place_of_a_file_is_not_read(
    copied_run: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "model.safetensors"
    os.mkfifo(pipe)
    assert "pipe" in refusal(lambda: load_generator(pipe))
    assert "device" in refusal(lambda: load_generator("/dev/zero"))
    (copied_run / "config.json").unlink()
    os.mkfifo(copied_run / "config.json")
    refusal(lambda: load_generator(copied_run))
    (copied_run / "config.json").unlink()
    (copied_run / "config.json").symlink_to("/dev/zero")
    refusal(lambda: load_generator(copied_run))


def test_a_truncated_model_file_is_refused_in_one_line(model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = model_file.read_bytes()
    for length in (1, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "not a sagan model file" in refusal(lambda: load_generator(path))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_model_with_a_damaged_header_loads_or_is_refused_in_one_line(
    data: st.DataObject, model_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(model_file.read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, 7 + length))
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a tensor read as another dtype
            model = open_model(path)
            if model.config.channels_g <= 16:  # a flipped digit can make it huge
                model.generator()
    except SaganError as error:
        assert str(error)  # noqa: PT017


def changed_model(model_file: Path, out: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    with safe_open(model_file, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(model_file)
    change(tensors)
    save_file(tensors, out, metadata=metadata)
    return out


def test_weights_with_other_names_or_shapes_are_refused(model_file: Path, tmp_path: Path) -> None:
    name = "generator.norm.weight"

    def shorter(tensors: dict[str, Tensor]) -> None:
        tensors[name] = tensors[name][:-1].clone()

    def scalar(tensors: dict[str, Tensor]) -> None:
        tensors[name] = torch.tensor(1.0)

    def one(tensors: dict[str, Tensor]) -> None:
        tensors[name] = torch.ones(1)

    def missing(tensors: dict[str, Tensor]) -> None:
        del tensors[name]

    def more(tensors: dict[str, Tensor]) -> None:
        tensors["generator.more"] = torch.ones(3)

    for change in (shorter, scalar, one, missing, more):
        path = changed_model(model_file, tmp_path / "changed.safetensors", change)
        assert "do not fit" in refusal(lambda path=path: load_generator(path))
        load_discriminator(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("linear.parametrizations.weight.original", 0.0, id="normalized to 0 / 0"),
        pytest.param("linear.parametrizations.weight.0.u", 0.0, id="no singular vector"),
        pytest.param("linear.bias", 1e300, id="beyond float32"),
        pytest.param("norm.running_var", -1.0, id="a negative variance"),
        pytest.param(
            "blocks.0.norm1.norm.running_var", -1.0, id="a negative variance that is not folded"
        ),
    ],
)
def test_weights_that_cannot_draw_are_refused(
    name: str, value: float, model_file: Path, tmp_path: Path
) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[f"generator.{name}"] = tensors[f"generator.{name}"].double().fill_(value)

    path = changed_model(model_file, tmp_path / "changed.safetensors", spoil)
    assert "is damaged" in refusal(lambda: load_generator(path))


def test_weights_of_unusual_types_are_read_or_refused(model_file: Path, tmp_path: Path) -> None:
    def eight_bits(tensors: dict[str, Tensor]) -> None:
        name = "generator.linear.bias"
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)

    def complex_ones(tensors: dict[str, Tensor]) -> None:
        name = "generator.linear.bias"
        tensors[name] = tensors[name].to(torch.complex64)

    load_generator(changed_model(model_file, tmp_path / "8.safetensors", eight_bits)).sample(1, [0])
    path = changed_model(model_file, tmp_path / "complex.safetensors", complex_ones)
    assert "do not fit" in refusal(lambda: load_generator(path))


def test_a_model_file_removed_after_opening_is_one_line(model_file: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(model_file, tmp_path / "model.safetensors"))
    model = open_model(path)
    path.unlink()
    assert str(path) in refusal(model.generator)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"classes": "[]"}, id="no classes for networks with labels"),
        pytest.param({"classes": '["a", 1, null]'}, id="classes that are not names"),
        pytest.param({"step": "-7"}, id="a negative step"),
    ],
)
def test_impossible_classes_and_steps_are_refused(
    changes: dict[str, str], model_file: Path, tmp_path: Path
) -> None:
    with safe_open(model_file, framework="pt") as file:
        metadata = file.metadata() | changes
    save_file(load_file(model_file), tmp_path / "changed.safetensors", metadata=metadata)
    refusal(lambda: open_model(tmp_path / "changed.safetensors"))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(
    value: float, model_file: Path, tmp_path: Path
) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        for network in ("generator", "discriminator"):
            tensors[f"{network}.linear.bias"][0] = value

    path = changed_model(model_file, tmp_path / "changed.safetensors", spoil)
    assert "linear.bias" in refusal(lambda: load_generator(path))
    assert "linear.bias" in refusal(lambda: load_discriminator(path))


def test_an_unknown_way_to_make_images_square_is_refused(
    model_file: Path, copied_run: Path, tmp_path: Path
) -> None:
    with safe_open(model_file, framework="pt") as file:
        metadata = file.metadata() | {"fit": "squeeze"}
    save_file(load_file(model_file), tmp_path / "changed.safetensors", metadata=metadata)
    assert "squeeze" in refusal(lambda: open_model(tmp_path / "changed.safetensors"))
    content = json.loads((copied_run / "config.json").read_text())
    content["data"]["fit"] = "squeeze"
    (copied_run / "config.json").write_text(json.dumps(content))
    assert "squeeze" in refusal(lambda: open_model(copied_run))


def test_a_configuration_larger_than_its_weights_takes_no_memory(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator of 4096 channels at 256 pixels would be terabytes."""
    monkeypatch.setenv("SAGAN_MEMORY_GIB", "1000")  # not refused for what sampling would take
    with safe_open(model_file, framework="pt") as file:
        metadata = file.metadata()
    settings = json.loads(metadata["config"]) | {
        "resolution": 256, "channels_g": 4096, "channels_d": 4096, "latent_size": 4096,
    }  # fmt: skip
    hostile = tmp_path / "hostile.safetensors"
    save_file(load_file(model_file), hostile, metadata | {"config": json.dumps(settings)})
    assert "do not fit" in refusal(lambda: load_generator(hostile))
    assert "do not fit" in refusal(lambda: load_discriminator(hostile))


@pytest.fixture(scope="module")
def greedy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model file with attention among all 65,536 pixels: 16 GiB for a map."""
    settings = {
        "resolution": 256, "channels_g": 8, "channels_d": 4, "attention_form": "full",
        "attention_g": (256,), "attention_d": (), "conditional": False, "latent_size": 8,
    }  # fmt: skip
    config = resolve("smoke", settings)
    generator, discriminator = build_networks(config, 0)
    states = {"ema": generator.state_dict(), "discriminator": discriminator.state_dict()}
    path = tmp_path_factory.mktemp("greedy") / "greedy.safetensors"
    export_model(Model("greedy", config, (), "crop", "", 1, "", states.__getitem__), path)
    assert path.stat().st_size < 6e6
    return path


def test_a_small_file_cannot_ask_for_gigabytes_of_attention_maps(greedy_file: Path) -> None:
    message = refusal(lambda: Renderer(open_model(greedy_file)))
    assert "about 16.0 GiB of memory for attention maps" in message
    assert "SAGAN_MEMORY_GIB=16" in message
    out = greedy_file.with_suffix(".png")
    assert "attention maps" in refusal(
        lambda: explain_samples(str(greedy_file), out, DEFAULT_DOTS, 4, None, 0)
    )


def test_a_small_file_cannot_ask_for_gigabytes_of_feature_maps(
    greedy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_generator(greedy_file)
    load_discriminator(greedy_file)
    monkeypatch.setenv("SAGAN_MEMORY_GIB", "0.1")
    assert "GiB of memory for sampling" in refusal(lambda: load_generator(greedy_file))
    assert "GiB of memory for the discriminator" in refusal(lambda: load_discriminator(greedy_file))


def test_the_limit_of_memory_can_be_raised_and_must_be_a_number(
    greedy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(greedy_file)
    monkeypatch.setenv("SAGAN_MEMORY_GIB", "17")
    check_map_memory(generator, 1, "greedy")
    monkeypatch.setenv("SAGAN_MEMORY_GIB", "lots")
    assert "SAGAN_MEMORY_GIB=lots" in refusal(lambda: check_map_memory(generator, 1, "greedy"))


def test_a_header_of_a_million_keys_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = "sagan.run.model_file.safe_open"
    monkeypatch.setattr(opened, lambda *_, **__: pytest.fail("was parsed"))
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((2**26).to_bytes(8, "little") + b"{")
        file.truncate(2**26 + 8)
    assert "not a sagan model file" in refusal(lambda: load_generator(path))
