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
