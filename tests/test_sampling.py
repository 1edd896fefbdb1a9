"""Interpolation between latents, and labels in turn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sagan import sampling
from sagan.errors import SaganError
from sagan.nn.inputs import seeded_latents
from sagan.sampling import (
    grid_labels,
    read_latents,
    sample_batches,
    spherical_interpolation,
)


@settings(max_examples=50)
@given(seed=st.integers(0, 9999), size=st.integers(2, 200), num=st.integers(2, 12))
def test_interpolation_goes_from_start_to_end_with_evenly_changing_norms(
    seed: int, size: int, num: int
) -> None:
    start, end = seeded_latents(2, size, seed)
    if torch.cosine_similarity(start, end, dim=0) < -0.999:
        return  # there is no unique arc between opposite latents
    path = spherical_interpolation(start, end, num)
    assert path.shape == (num, size)
    scale = float(max(start.norm(), end.norm()))
    torch.testing.assert_close(path[0], start, atol=2e-3 * scale, rtol=0)
    torch.testing.assert_close(path[-1], end, atol=2e-3 * scale, rtol=0)
    norms = np.linspace(float(start.norm()), float(end.norm()), num)
    np.testing.assert_allclose(path.norm(dim=1).numpy(), norms, rtol=2e-3)


def test_interpolation_turns_by_equal_angles_in_the_plane_of_its_ends() -> None:
    start, end = torch.tensor([2.0, 0, 0]), torch.tensor([0, 4.0, 0])
    path = spherical_interpolation(start, end, 4).numpy()
    for i, radius in enumerate([2, 8 / 3, 10 / 3, 4]):
        angle = i * np.pi / 6
        expected = [radius * np.cos(angle), radius * np.sin(angle), 0]
        np.testing.assert_allclose(path[i], expected, atol=1e-5)


def test_interpolation_between_equal_latents_is_constant() -> None:
    z = seeded_latents(1, 128, 0)[0]
    path = spherical_interpolation(z, z, 5)
    torch.testing.assert_close(path, z.expand(5, 128), atol=1e-4, rtol=1e-4)


def test_an_interpolation_with_one_latent_is_its_start() -> None:
    start, end = seeded_latents(2, 16, 0)
    torch.testing.assert_close(spherical_interpolation(start, end, 1), start[None])


def test_grid_labels_are_the_classes_in_turn() -> None:
    assert grid_labels(5, 3) == [0, 1, 2, 0, 1]
    assert grid_labels(4, 1000) == [0, 1, 2, 3]
    assert grid_labels(5, 0) is None


class Recorder:
    """In a generator's place: an image shows its first latent and its label."""

    latent_size = 3

    def __init__(self) -> None:
        self.drawn = 0

    def sample(self, num: int, labels: list[int], *, truncation: float, latents: Any) -> Any:
        assert len(latents) == len(labels) == num
        self.drawn += num
        return np.stack([truncation * latents[:, 0].numpy(), np.array(labels)], axis=1)


@pytest.mark.parametrize("num", [1, 64, 65, 300])
def test_each_of_three_processes_draws_a_share_and_the_main_one_gets_what_one_alone_draws(
    num: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = list(range(num))

    def draw(generator: Recorder) -> Any:
        return list(sample_batches(generator, num, labels, 7, 0.5))  # type: ignore[arg-type]

    alone, sent = Recorder(), {1: [], 2: []}  # type: ignore[var-annotated]
    expected = draw(alone)
    monkeypatch.setattr(sampling.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(sampling.distributed, "get_world_size", lambda: 3)
    drawn = []
    for rank in (2, 1, 0):

        def gather(batch: Any, batches: list[Any] | None, rank: int = rank) -> None:
            if batches is None:
                sent[rank].append(batch)
            else:
                batches[:] = [batch, sent[1].pop(0), sent[2].pop(0)]

        monkeypatch.setattr(sampling.distributed, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(sampling.distributed, "gather_object", gather)
        generator = Recorder()
        found = draw(generator)
        drawn.append(generator.drawn)
        assert len(found) == (len(expected) if rank == 0 else 0)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sum(drawn) == num
    assert max(drawn) <= 128


def test_latents_are_read_from_a_file_and_drawn_in_order(tmp_path: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((70, Recorder.latent_size))
    np.save(tmp_path / "z.npy", latents)
    found = read_latents(tmp_path / "z.npy", Recorder.latent_size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, latents, rtol=1e-6)
    drawn = sample_batches(Recorder(), 70, [0] * 70, 5, 2.0, found)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.concatenate(list(drawn))[:, 0], 2 * latents[:, 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read the latents"),
        (b"text", "is not an .npy file"),
        (np.array([{}], dtype=object), "is not an .npy file"),
        (np.zeros(8), r"float64 \(8,\): .* shape \(num, 8\)"),
        (np.zeros((0, 8)), r"\(0, 8\): .* numbers of shape"),
        (np.zeros((2, 8), complex), "complex128"),
        (np.zeros((2, 9)), r"must have shape \(2, 8\), not \(2, 9\)"),
        (np.full((2, 8), np.nan), "must be finite"),
    ],
)
def test_a_file_without_latents_is_refused_in_one_line(
    content: Any, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "z.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(SaganError, match=reason) as caught:
        read_latents(path, 8)
    assert "\n" not in str(caught.value)
    assert "z.npy" in str(caught.value)
