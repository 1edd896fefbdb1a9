"""DINOv2 (Oquab et al. 2023); its distances agree best with human judgment (Stein et al. 2023).

ViT-L/14, as in Stein et al.: the class token after the last normalization. The network is timm's;
torch-fidelity's would run downloaded code, and does not accept a weights file.
"""

from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.errors import SaganError
from sagan.metrics.features.network import FeatureNetwork, FeaturesAndLogits
from sagan.metrics.features.weights import PublishedWeights, find_weights
from sagan.storage.torch_files import StateDict, read_state_dict

ARCHITECTURE = "vit_large_patch14_dinov2"
INPUT_SIZE, PATCH_SIZE, WIDTH = 224, 14, 1024
CANONICAL = PublishedWeights(
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
)
# ImageNet's mean and standard deviation, for images in 0..255.
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def open_network(weights: Path | None) -> FeatureNetwork:
    """Load the network with the published weights, or with those in a file.

    Raises:
        SaganError: the weights are unavailable, or do not fit the network.
    """
    path, sha256 = find_weights(CANONICAL, weights)
    network = timm.create_model(ARCHITECTURE, pretrained=False, img_size=INPUT_SIZE, num_classes=0)
    try:
        network.load_state_dict(_adapted(read_state_dict(path)))
    except (RuntimeError, KeyError):
        raise SaganError(f"the weights in '{path}' are not those of {ARCHITECTURE}") from None
    return FeatureNetwork(
        name="dinov2",
        title="DINOv2" if sha256 == CANONICAL.sha256 else "DINOv2-other",
        width=WIDTH,
        num_logits=0,
        weights_sha256=sha256,
        preprocessing=f"bicubic with antialiasing to {INPUT_SIZE} x {INPUT_SIZE} in float32, "
        "ImageNet's mean and deviation",
        module=_Features(network),
    )


def _adapted(tensors: StateDict) -> StateDict:
    """Return the published tensors adapted to an input of 224 pixels.

    Position embeddings (1, 1 + 37*37, D) for 518 pixels become (1, 1 + 16*16, D) as in the authors'
    code: bicubic, without antialiasing, by the factor (16 + 0.1) / 37.
    """
    adapted = {name: tensor for name, tensor in tensors.items() if name != "mask_token"}
    token, patches = adapted["pos_embed"][:, :1], adapted["pos_embed"][:, 1:]
    old, new = round(patches.shape[1] ** 0.5), INPUT_SIZE // PATCH_SIZE
    grid = patches.unflatten(1, (old, old)).permute(0, 3, 1, 2)  # (1, D, 37, 37)
    grid = F.interpolate(grid.float(), scale_factor=(new + 0.1) / old, mode="bicubic")
    adapted["pos_embed"] = torch.cat([token, grid.flatten(2).transpose(1, 2)], dim=1)
    return adapted


class _Features(nn.Module):
    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> FeaturesAndLogits:
        x = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        x = F.interpolate(x, (INPUT_SIZE, INPUT_SIZE), mode="bicubic", antialias=True).clamp(0, 255)
        features: Tensor = self.network((x - self.mean) / self.deviation)  # (B, D)
        return features, features.new_empty(len(features), 0)
