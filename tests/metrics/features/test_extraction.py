"""Features depend on each image alone, however the work is divided, and they are cached."""

import errno
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import PartialState

from sagan.data import PackedDataset
from sagan.data.packed import fingerprint_of
from sagan.errors import SaganError
from sagan.metrics.features import extraction
from sagan.metrics.features.extraction import FEATURES, LOGITS, extract, map_array
from sagan.metrics.features.reference import reference_features


def sealed(dataset: PackedDataset) -> PackedDataset:
    """Return the set with the fingerprint of its own images."""
    return replace(dataset, fingerprint=fingerprint_of(dataset))


@pytest.fixture
def processes() -> PartialState:
    return PartialState(cpu=True)


def test_files_contain_the_features_of_every_image_whatever_the_chunk(
    labeled, tiny_network, processes, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(extraction, "IMAGES_PER_CHUNK", 5)
    reported = []
    extract(
        tiny_network, lambda a, b: labeled.images[a:b], 18, tmp_path, processes, "images",
        lambda *progress: reported.append(progress), (FEATURES, LOGITS),
    )  # fmt: skip
    features, logits = tiny_network(torch.from_numpy(np.array(labeled.images)))
    np.testing.assert_allclose(map_array(tmp_path / FEATURES, *features.shape), features, rtol=1e-6)
    np.testing.assert_allclose(
        map_array(tmp_path / LOGITS, *logits.shape), logits, rtol=1e-5, atol=1e-5
    )
    assert reported == [("images", done, 18) for done in (5, 10, 15, 18)]


def test_features_of_a_data_set_are_computed_once(labeled, tiny_network, processes) -> None:
    first = reference_features(labeled, tiny_network, processes)
    assert tiny_network.module.seen == 18
    again = reference_features(labeled, tiny_network, processes)
    assert tiny_network.module.seen == 18
    np.testing.assert_array_equal(first, again)
    assert again.shape == (18, tiny_network.width)


@pytest.mark.parametrize(
    "other",
    [
        lambda data, network: (sealed(replace(data, images=255 - data.images)), network),
        lambda data, network: (data, replace(network, weights_sha256="1" * 64)),
        lambda data, network: (data, replace(network, preprocessing="another")),
        lambda data, network: (data, replace(network, name="another")),
    ],
    ids=["images", "weights", "preprocessing", "network"],
)
def test_other_images_or_another_network_find_nothing_in_the_cache(
    labeled, tiny_network, processes, other
) -> None:
    reference_features(labeled, tiny_network, processes)
    reference_features(*other(labeled, tiny_network), processes)
    assert tiny_network.module.seen == 36


def test_no_features_are_cached_under_the_fingerprint_of_other_images(
    labeled, tiny_network, processes, metrics_cache
) -> None:
    damaged = replace(labeled, images=255 - labeled.images)
    with pytest.raises(SaganError, match="damaged") as error:
        reference_features(damaged, tiny_network, processes)
    assert str(labeled.path) in str(error.value)
    assert tiny_network.module.seen == 0
    assert not metrics_cache.exists()


def test_a_full_disk_is_reported_in_one_line(
    labeled, tiny_network, processes, metrics_cache, monkeypatch
) -> None:
    """If files were written through a memory map, the process would die of SIGBUS instead."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(extraction, "append", full)
    with pytest.raises(SaganError, match="No space left") as error:
        reference_features(labeled, tiny_network, processes)
    assert str(metrics_cache) in str(error.value)
    assert list(metrics_cache.iterdir()) == []


def test_two_processes_that_extract_the_same_features_both_get_them(
    labeled, tiny_network, processes, metrics_cache, monkeypatch
) -> None:
    """The other process finishes while this one is at its last chunk."""
    expected = np.array(reference_features(labeled, tiny_network, processes))
    (done,) = metrics_cache.iterdir()
    done.rename(metrics_cache / "aside")
    monkeypatch.setattr(
        extraction, "flush", lambda path: done.exists() or (metrics_cache / "aside").rename(done)
    )
    found = reference_features(labeled, tiny_network, processes)
    np.testing.assert_array_equal(found, expected)
    assert list(metrics_cache.iterdir()) == [done]


def test_features_of_some_images_are_cached_apart_from_those_of_all(
    labeled, tiny_network, processes
) -> None:
    rows = np.array([1, 4, 17])
    some = reference_features(labeled, tiny_network, processes, rows)
    assert tiny_network.module.seen == 3
    everything = reference_features(labeled, tiny_network, processes)
    np.testing.assert_array_equal(some, everything[rows])


def test_nothing_is_read_after_a_damaged_header(labeled, tiny_network, processes, tmp_path) -> None:
    """NumPy's reader raises errors of six kinds, or takes columns for rows."""
    extract(tiny_network, lambda a, b: labeled.images[a:b], 18, tmp_path, processes, "images")
    assert not (tmp_path / LOGITS).exists()
    content = (tmp_path / FEATURES).read_bytes()
    for at in range(len(content) - 4 * 18 * tiny_network.width):
        changed = bytes([content[at] ^ 1])
        (tmp_path / FEATURES).write_bytes(content[:at] + changed + content[at + 1 :])
        with pytest.raises(ValueError, match="does not have 18 rows"):
            map_array(tmp_path / FEATURES, 18, tiny_network.width)


@pytest.mark.parametrize("damage", ["cut short", "emptied", "of another shape", "removed"])
def test_damaged_features_are_computed_again(
    labeled, tiny_network, processes, metrics_cache, damage
) -> None:
    expected = np.array(reference_features(labeled, tiny_network, processes))
    (file,) = metrics_cache.glob(f"*/{FEATURES}")
    content = file.read_bytes()
    match damage:
        case "cut short":
            file.write_bytes(content[:-100])
        case "emptied":
            file.write_bytes(b"")
        case "of another shape":
            np.save(file, expected[:5])
        case "removed":
            file.unlink()
    found = reference_features(labeled, tiny_network, processes)
    np.testing.assert_array_equal(found, expected)
    assert tiny_network.module.seen == 36
    assert not list(metrics_cache.glob(".*"))


def test_features_of_some_images_are_not_confused_with_those_of_others(
    labeled, tiny_network, processes
) -> None:
    for rows in ([0, 1, 2], [1, 4, 17]):
        found = reference_features(labeled, tiny_network, processes, np.array(rows))
        expected = tiny_network(torch.from_numpy(np.array(labeled.images[rows])))[0].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6)
