"""Pictures of other shapes than the published ones, from files to numbers, in a shell."""

import json

import pytest
from PIL import Image

SMALL = ["channels_g=8", "channels_d=8", "batch_size=8", "evaluate_every=0"]


def settings(*assignments: str) -> list[str]:
    return [word for each in (*assignments, *SMALL) for word in ("--set", each)]


@pytest.mark.parametrize(
    ("shape", "size", "mode"),
    [
        (("resolution=48",), (48, 48), "RGB"),
        (("resolution=96",), (96, 96), "RGB"),
        (("resolution=96x64", "attention_d=16,8"), (96, 64), "RGB"),
        (("colors=gray",), (32, 32), "L"),
        (("colors=rgba", "family=projected", "augment=1"), (32, 32), "RGBA"),
    ],
)
def test_pictures_of_a_shape_can_be_trained_on_sampled_explained_and_evaluated(
    sagan, pictures, tmp_path, shape, size, mode
) -> None:
    run = tmp_path / "run"
    train = ["train", "--data", pictures, "--out", run, "--preset", "smoke", "--steps", 1]
    result = sagan(*train, *settings(*shape))
    assert result.status == 0, result.err
    model = tmp_path / "model.safetensors"
    assert sagan("export", run, model).status == 0
    samples = tmp_path / "samples"
    assert sagan("sample", model, "--num", 2, "--out", samples).status == 0
    with Image.open(samples / "00001.png") as image:
        assert (image.size, image.mode) == (size, mode)
    assert sagan("sample", model, "--num", 2, "--out", tmp_path / "grid.png").status == 0
    # The photo is the discriminator's, the sample the generator's.
    for name, of in {"g": ["--num", 1], "d": ["--image", samples / "00000.png"]}.items():
        result = sagan("explain", model, "--out", tmp_path / f"{name}.png", *of)
        assert result.status == 0, result.err
    numbers = tmp_path / "numbers.json"
    neighbors = ["--neighbors", tmp_path / "neighbors.png"]
    result = sagan("evaluate", run, "--data", pictures, "--num", 12, "--json", numbers, *neighbors)
    assert result.status == 0, result.err
    document = json.loads(numbers.read_text())
    assert document["metrics"]["KD-EfficientNet"] > 0
    described = {"L": "gray, three times", "RGB": None, "RGBA": "rgba, over white"}[mode]
    assert document["protocol"]["reference"].get("colors") == described


def test_a_packed_set_decides_size_and_colors_without_a_preset(sagan, pictures, tmp_path) -> None:
    packed = tmp_path / "packed"
    result = sagan("data", "pack", pictures, packed, "--size", "48x40", "--colors", "gray")
    assert result.status == 0, result.err
    assert "12 pictures of 48 x 40 gray" in result.out
    result = sagan("train", "--data", packed, "--dry-run", *settings())
    assert result.status == 0, result.err
    for words in ("48x40", "gray"):
        assert words in result.out
    refused = sagan("train", "--data", packed, "--dry-run", "--preset", "smoke")
    assert refused.status == 2
    assert "choose resolution 48x40" in refused.err


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("resolution=100x64", "no layout for 100 x 64: with this shorter side, both must be"),
        ("resolution=512x64", "multiples of 16 and at most 256"),
        ("resolution=96by64", "is not a size in pixels such as 64 or 96x64"),
        ("colors=cmyk", "'gray', 'rgb' or 'rgba'"),
    ],
)
def test_a_shape_without_networks_is_refused_in_one_line(
    sagan, pictures, assignment, reason
) -> None:
    train = ["train", "--data", pictures, "--dry-run", "--preset", "smoke"]
    result = sagan(*train, "--set", assignment)
    assert result.status == 2
    assert reason in result.err
    assert len(result.err.splitlines()) == 1
