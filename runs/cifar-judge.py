"""Train the feature network cifar-judge, or measure it: `runs/cifar-judge.py --help`.

Training takes 90 minutes of one core with AVX2, sees the training images only, and writes its
result into the package. The weights in the package come from an earlier form of this script, which
drew the same random numbers; rounding on another machine leads to other weights, about as good.
"""

import argparse
import time
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from sagan.data import PackedDataset, open_dataset
from sagan.metrics import fit_classifier, open_network
from sagan.metrics.features.cifar_judge import INPUT_SIZE, CifarJudge
from sagan.metrics.measures.frechet import frechet_distance

EPOCHS, BATCH, SEED = 20, 128, 0
PEAK_RATE, WARM_UP, MOMENTUM, WEIGHT_DECAY = 0.2, 0.2, 0.9, 5e-4
SMOOTHING = 0.1  # of labels
SHIFT, HOLE = 4, 8  # pixels: largest shift of an image, side of the square that is set to 0


def main() -> None:
    """Train and save the network, or measure the one in the package."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", help="CIFAR-10 with the splits train and test, such as cifar10.zip")
    parser.add_argument("--measure", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    train, test = (open_dataset(arguments.data, INPUT_SIZE, split=s) for s in ("train", "test"))
    if not arguments.measure:
        save(trained(train, test))
    measure(train, test)


def trained(train: PackedDataset, test: PackedDataset) -> CifarJudge:
    """Train a network on one split, and print its accuracy on the other after each epoch."""
    torch.manual_seed(SEED)
    network = CifarJudge().to(memory_format=torch.channels_last)
    matrices = [p for p in network.parameters() if p.dim() > 1]
    vectors = [p for p in network.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors}]
    optimizer = torch.optim.SGD(groups, lr=PEAK_RATE, momentum=MOMENTUM, nesterov=True)
    steps = EPOCHS * (len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step / steps))
    for epoch in range(EPOCHS):
        network.train()
        for rows in torch.randperm(len(train)).split(BATCH)[: len(train) // BATCH]:
            images, labels = batch(train, rows)
            _, logits = network(distorted(images))
            loss = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: {accuracy(network, test):.4f} of test images right")
    return network


def save(network: CifarJudge) -> None:
    """Write the weights into the package, matrices in float16."""
    tensors = {name: t.half() if t.dim() > 1 else t for name, t in network.state_dict().items()}
    folder = Path(str(resources.files("sagan.metrics.features")))
    contiguous = {name: t.contiguous() for name, t in tensors.items()}
    save_file(contiguous, folder / "cifar-judge.safetensors")


def measure(train: PackedDataset, test: PackedDataset) -> None:
    """Print what the network in the package says about real images."""
    network = open_network("cifar-judge")
    start = time.process_time()
    (seen, _), (new, logits) = (
        [output.numpy() for output in network(torch.from_numpy(np.array(split.images)))]
        for split in (train, test)
    )
    seconds = 1000 * (time.process_time() - start) / (len(train) + len(test))
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(SEED)).numpy()
    accuracy = fit_classifier(seen, train.labels).score(new, test.labels)
    for name, value in {
        "accuracy on the test split by its logits": (logits.argmax(axis=1) == test.labels).mean(),
        "class-accuracy/real of the test split": accuracy,
        "FD of test and train split": frechet_distance(new, seen),
        "FD of 10,000 and 10,000 training images": frechet_distance(
            seen[rows[:10_000]], seen[rows[10_000:20_000]]
        ),
        "FD of the halves of the test split": frechet_distance(new[0::2], new[1::2]),
        "processor seconds for 1,000 images": seconds,
    }.items():
        print(f"{name}: {value:.4f}")


def rate(share: float) -> float:
    """Return the factor of the learning rate: up in a straight line, then down to 0."""
    return share / WARM_UP if share < WARM_UP else (1 - share) / (1 - WARM_UP)


def batch(dataset: PackedDataset, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return images (B, 3, 32, 32) in [-1, 1] and labels (B,)."""
    assert dataset.labels is not None
    images = torch.from_numpy(dataset.images[rows.numpy()])
    labels = torch.from_numpy(dataset.labels[rows.numpy()])
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1, labels


def distorted(images: Tensor) -> Tensor:
    """Mirror, shift and cover images (B, 3, H, W) at random; shifts reflect at the border."""
    num, side = len(images), images.shape[-1]
    padded = F.pad(images, [SHIFT] * 4, mode="reflect").permute(0, 2, 3, 1)
    shifts = torch.randint(0, 2 * SHIFT + 1, (num, 2))
    mirrored = torch.rand(num, 1) < 0.5
    places = torch.arange(side)
    rows = shifts[:, :1] + places
    columns = shifts[:, 1:] + torch.where(mirrored, side - 1 - places, places)
    images = padded[torch.arange(num)[:, None, None], rows[:, :, None], columns[:, None, :]]
    y, x = torch.randint(0, side, (2, num, 1))
    inside_rows = ((places - y).abs() < HOLE // 2)[:, :, None]
    hole = inside_rows & ((places - x).abs() < HOLE // 2)[:, None, :]
    return images.masked_fill(hole[..., None], 0.0).permute(0, 3, 1, 2)


@torch.inference_mode()
def accuracy(network: CifarJudge, dataset: PackedDataset) -> float:
    """Return the share of images that the network assigns to their class."""
    network.eval()
    right = 0
    for rows in torch.arange(len(dataset)).split(500):
        images, labels = batch(dataset, rows)
        right += int((network(images)[1].argmax(dim=1) == labels).sum())
    return right / len(dataset)


if __name__ == "__main__":
    main()
