"""Files of version 0.1.0 can still be used: a packed set, a run of two steps, a model file."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sagan import load_discriminator, load_generator
from sagan.data import open_dataset
from sagan.model import open_model
from sagan.run.checkpoint import checkpoints, latest_checkpoint
from sagan.training.loop import train
from sagan.training.recorder import Reporter
from sagan.training.session import prepare_session

WRITTEN = Path(__file__).parent / "v0.1.0"


class Silent(Reporter):
    pass


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """A copy, since resuming changes a run."""
    return shutil.copytree(WRITTEN, tmp_path / "v0.1.0")


def test_a_run_and_its_model_file_contain_the_same_model() -> None:
    run, file = open_model(WRITTEN / "run"), open_model(WRITTEN / "model.safetensors")
    assert run.classes == file.classes == ("blue", "red")
    assert run.step == file.step == 2
    assert run.config == file.config
    assert run.sha256() == file.sha256()
    images = load_generator(WRITTEN / "run").sample(2, labels=[0, 1], seed=3)
    again = load_generator(WRITTEN / "model.safetensors").sample(2, labels=[0, 1], seed=3)
    np.testing.assert_array_equal(images, again)
    features = load_discriminator(WRITTEN / "model.safetensors").features(images)
    assert np.isfinite(features).all()


def test_a_packed_set_has_its_classes_fingerprint_and_images() -> None:
    dataset = open_dataset(str(WRITTEN / "packed"), 32)
    assert dataset.classes == ("blue", "red")
    manifest = json.loads((WRITTEN / "packed" / "pack.json").read_text())
    assert dataset.fingerprint == manifest["fingerprint"]
    means = [dataset.images[dataset.labels == label].mean(axis=(0, 1, 2)) for label in (0, 1)]
    assert means[0].argmax() == 2  # blue
    assert means[1].argmax() == 0  # red


# The run may have been written on another machine.
@pytest.mark.filterwarnings("ignore:.*bits it would have had:UserWarning")
def test_a_run_resumes_from_its_checkpoint(written: Path, no_images: None) -> None:
    run = written / "run"
    assert latest_checkpoint(run) == checkpoints(run)[-1]
    session = prepare_session(
        str(written / "packed"), run, None, {"steps": 3}, notify=lambda _: None
    )
    train(session, Silent())
    assert [path.name for path in checkpoints(run)] == ["step-00000002", "step-00000003"]
    steps = [json.loads(line)["step"] for line in (run / "stats.jsonl").read_text().splitlines()]
    assert steps == [0, 1, 2, 3]
