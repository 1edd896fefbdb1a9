"""A training on a set in shards is that on the set in one piece, and resumes to the bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sagan.data import PackedDataset, open_source, pack
from sagan.data.shards.opening import open_remote
from sagan.training.state import Training

Start = Callable[..., Training]
IMAGE_BYTES = 32 * 32 * 3


@pytest.fixture(scope="module")
def sharded(picture_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    """The pictures of `labeled`, 18 in 5 shards."""
    out = tmp_path_factory.mktemp("sharded") / "set"
    return pack(open_source(str(picture_folders)), out, 32, shard_bytes=4 * IMAGE_BYTES)


def weights(training: Training) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": tensor
        for name, tensors in training._tensors().items()
        for key, tensor in tensors.items()
    }


def assert_equal(one: Training, other: Training) -> None:
    expected = weights(one)
    found = weights(other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_shards_train_to_the_bits_of_the_set_in_one_piece(
    labeled: PackedDataset, sharded: PackedDataset, start_training: Start
) -> None:
    one, many = start_training(labeled), start_training(sharded)
    for _ in range(3):
        one.advance()
        many.advance()
    assert_equal(one, many)


def test_a_streamed_training_resumes_to_the_bit_in_the_middle_of_an_epoch(
    sharded: PackedDataset, start_training: Start, tmp_path: Path
) -> None:
    def start() -> Training:
        url = f"file://{sharded.path}"
        limit = 6 * (4 * IMAGE_BYTES + 4096)
        dataset = open_remote(url, streamed=True, cache=tmp_path / "cache", limit=limit)
        return start_training(dataset, shuffle_window=2)

    untouched = start()
    for _ in range(3):  # batches of 8 in epochs of 18 images
        untouched.advance()
    first = start()
    first.advance()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    first.save(tmp_path / "run")
    second = start()
    (folder,) = (tmp_path / "run" / "checkpoints").iterdir()
    second.restore(folder)
    for _ in range(2):
        second.advance()
    assert_equal(untouched, second)
    local = start_training(sharded, shuffle_window=2)
    for _ in range(3):
        local.advance()
    assert_equal(untouched, local)


def test_each_lane_of_a_batch_reads_its_own_shards(
    sharded: PackedDataset, start_training: Start
) -> None:
    training = start_training(sharded, shuffle_window=1, accumulation=2)
    assert sharded.labels is not None
    for batch in range(6):
        for shard in training._real_shards(batch):
            places = [
                int(np.flatnonzero((sharded.images[:] == image).all((1, 2, 3)))[0])
                for image in shard.images.numpy()
            ]
            shards = sharded.images.layout.places[places] // 4  # type: ignore[attr-defined]
            assert (shards % 2 == shard.index).all()
