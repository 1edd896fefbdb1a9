"""Agreement of the parts of drawn faces."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sagan.data.sources.avatars import STYLES, AvatarsSource, attributes_of, decode_avatar
from sagan.errors import SaganError
from sagan.metrics.features.network import FeatureNetwork, open_network
from sagan.metrics.measures.parts import part_agreement, parts_metric
from sagan.metrics.parts import weights
from sagan.metrics.parts.agreement import Agreement, by_kind, compare
from sagan.metrics.parts.weights import open_reader, read_table
from sagan.types import Int64Array, UInt8Array

NUM_FACES = 160


@pytest.fixture(scope="module")
def faces() -> tuple[UInt8Array, Int64Array]:
    """Drawings of the test split, which the reader was not trained on, and their styles."""
    source = itertools.islice(AvatarsSource("avatars", split="test").images(), NUM_FACES)
    drawn = [(decode_avatar(image.read(), 64, "crop"), image.label) for image in source]
    images, labels = zip(*drawn, strict=True)
    return np.stack(images), np.array(labels)


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    return open_network("avatar-parts")


def test_agreement_and_chance_are_those_of_counting_every_pair_of_images() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
    pairs = [(a, b) for a, b in itertools.product(range(30), repeat=2) if a != b]
    chance = sum(first[a] == second[b] for a, b in pairs) / len(pairs)
    found = compare(first, second, 4)
    assert found.rate == sum(first[i] == second[i] for i in range(30)) / 30
    assert found.chance == pytest.approx(chance, abs=1e-12)


@pytest.mark.parametrize(
    ("rate", "chance", "corrected"), [(1.0, 0.25, 1.0), (0.25, 0.25, 0.0), (1.0, 1.0, 0.0)]
)
def test_chance_and_images_that_are_all_alike_count_nothing(
    rate: float, chance: float, corrected: float
) -> None:
    assert Agreement(10, rate, chance).corrected == corrected


def test_parts_of_one_face_agree_and_those_of_two_faces_do_not(
    faces: tuple[UInt8Array, Int64Array], network: FeatureNetwork
) -> None:
    """The left half of one face beside the right half of another of its style is the control."""
    images, labels = faces
    other = np.arange(NUM_FACES)
    for style in range(len(STYLES)):
        other[labels == style] = np.roll(other[labels == style], 1)
    stitched = images.copy()
    stitched[:, :, 32:] = images[other][:, :, 32:]
    whole = by_kind(part_agreement(images, labels, network=network))
    torn = by_kind(part_agreement(stitched, labels, network=network))
    assert {"hair", "skin", "neck"} <= set(whole)
    for kind in ("hair", "skin", "neck"):  # eyes are read in one style only: too few faces here
        one = whole[kind]
        assert one.rate > 0.85, kind
        assert one.chance < 0.5, kind
        # Cuts are not all in column 32, so some of the second face is in the first piece, and the
        # neck is cut along the other axis.
        if kind != "neck":
            assert torn[kind].rate < one.rate - 0.25, kind


def test_colors_are_those_that_the_drawings_were_made_of(network: FeatureNetwork) -> None:
    table = read_table()
    style, num = "toon-head", 30
    source = AvatarsSource(f"avatars:{style}", split="test").images()
    data = [image.read() for image in itertools.islice(source, num)]
    faces = np.stack([decode_avatar(one, 64, "crop") for one in data])
    logits, _ = network(torch.from_numpy(faces))
    (pair,) = (p for p in table.pairs if (p.kind, p.style, p.distance) == ("hair", style, 0))
    values = table.values["hair"]
    own = [code for code, value in enumerate(values) if value.style == style]
    drawn = [attributes_of(one)["hairColor"] for one in data]
    for what, piece, columns in table.columns():
        if what == "hair" and piece in pair.pieces:
            best = logits[:, columns][:, own].argmax(1).tolist()
            right = [values[own[i]].value == color for i, color in zip(best, drawn, strict=True)]
            assert np.mean(right) > 0.85, piece


def test_nothing_outside_a_piece_changes_what_is_read_in_it(network: FeatureNetwork) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    before, _ = network(torch.from_numpy(images))
    for what, piece, columns in read_table().columns():
        changed = images.copy()
        outside = {
            "left": np.s_[:, :, piece.cut :], "right": np.s_[:, :, : piece.cut],
            "above": np.s_[:, piece.cut :], "below": np.s_[:, : piece.cut],
        }[piece.side]  # fmt: skip
        changed[outside] = 255 - changed[outside]
        both = torch.from_numpy(np.concatenate([changed, 255 - changed]))
        after, inside = network(both)[0][:, columns].chunk(2)
        torch.testing.assert_close(after, before[:, columns], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(inside, before[:, columns], rtol=1e-2, atol=1e-2), (what, piece)


def test_pieces_of_a_pair_do_not_overlap_and_are_as_far_apart_as_they_say() -> None:
    for pair in read_table().pairs:
        first, second = (piece.mask().numpy() for piece in pair.pieces)
        assert not (first & second).any()
        assert (~(first | second)).sum() == 64 * pair.distance
        assert min(pair.accuracy) >= 0.9


def test_styles_are_read_from_the_image_without_labels(
    faces: tuple[UInt8Array, Int64Array], network: FeatureNetwork
) -> None:
    images, labels = faces
    seen = network(torch.from_numpy(images))[0][:, :10].argmax(1).numpy()
    assert (seen == labels).mean() > 0.98
    assert read_table().styles == STYLES


def test_labels_may_count_other_classes_than_all_styles(
    faces: tuple[UInt8Array, Int64Array], network: FeatureNetwork
) -> None:
    images, labels = faces
    chosen = np.isin(labels, [STYLES.index("micah"), STYLES.index("dylan")])
    renumbered = (labels[chosen] == STYLES.index("dylan")).astype(np.int64)
    found = part_agreement(images[chosen], renumbered, ("micah", "dylan"), network)
    assert found == part_agreement(images[chosen], labels[chosen], network=network)
    assert {style for _, _, style in found} <= {"micah", "dylan"}
    with pytest.raises(SaganError, match=r"^'cat' is not a style of avatars that the reader knows"):
        part_agreement(images, labels, ("cat",), network)


def test_the_metric_has_rates_of_samples_and_of_real_images(
    faces: tuple[UInt8Array, Int64Array], network: FeatureNetwork
) -> None:
    logits = network(torch.from_numpy(faces[0]))[0].numpy()
    values = parts_metric(logits, logits)
    assert values["parts"] == values["parts/real"]
    assert values["parts/ratio"] == 1
    assert values["parts/chance"] < values["parts/corrected"] < values["parts"]
    assert values["parts/hair"] == values["parts/hair/real"]
    assert "parts/hair/8" in values


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    damaged = bytearray(weights.WEIGHTS.read_bytes())
    assert len(damaged) < 1_000_000
    damaged[-1] ^= 1
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damaged)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "WEIGHTS", path)
        with pytest.raises(SaganError, match=rf"^'{re.escape(str(path))}' is damaged: install"):
            open_reader()
