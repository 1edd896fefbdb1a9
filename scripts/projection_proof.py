"""Compare projections of real test images with the nearest of many random samples.

    OMP_NUM_THREADS=1 python scripts/projection_proof.py cifar10-32 --data cifar10.zip

Test images, drawn at random, are projected one by one, as `sagan project` does it. The distance of
each to its projection, in the discriminator's features, must be smaller than that to the nearest of
1,000 random samples of all classes (not those that the projection starts from), and one projection
must take less than 20 seconds of the processor's time, all threads together: other programs then do
not count. Writes projection.json, projection.md and projection.png into the folder `--out`; the
picture shows image, projection and nearest random sample of each, four to a row.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import describe_machine
from sagan.data.cache import open_dataset
from sagan.errors import SaganError
from sagan.explain.projection import project
from sagan.gallery import save_image
from sagan.images.grid import Captions, captioned_grid, visible_scale
from sagan.images.rgb import as_rgb
from sagan.model import Model, open_model
from sagan.sampling import grid_labels
from sagan.types import Float32Array, UInt8Array

MAX_SECONDS = 20.0  # for one projection
ACROSS = 4  # comparisons in a row of the figure
SAMPLE_SEED = 1_000_003  # of the random samples; the projection starts from those of its own seed


@dataclass(frozen=True)
class Comparison:
    """One image, its projection and the nearest random sample.

    Attributes:
        number: the image's, in its split.
        image_class: its class; "" without labels.
        random: distance to the nearest random sample: between features, over the length of the
            image's.
        projection: distance to the projection.
        projection_class: the class of the projection; "" without classes.
        seconds: that the projection took.
        cpu_seconds: of the processor's time, all threads together.
    """

    number: int
    image_class: str
    random: float
    projection: float
    projection_class: str
    seconds: float
    cpu_seconds: float

    @property
    def passes(self) -> bool:
        """Whether the projection is nearer, and took less than `MAX_SECONDS`."""
        return self.projection < self.random and self.cpu_seconds < MAX_SECONDS


def compare(
    model: Model, data: str, split: str, num: int, num_random: int, seed: int
) -> tuple[list[Comparison], UInt8Array]:
    """Project images.

    Returns:
        The comparisons, and their images: uint8 (3 num, H, W, C), each image with its projection
        and the nearest random sample.
    """
    shape = model.config.shape
    dataset = open_dataset(
        data, shape.resolution, colors=shape.colors, fit=model.fit, split=split, notify=print
    )
    numbers = np.random.default_rng(seed).choice(len(dataset), num, replace=False)
    generator, discriminator = model.generator(), model.discriminator()
    labels = grid_labels(num_random, generator.num_classes)
    samples = generator.sample(num_random, labels, SAMPLE_SEED)
    sample_features = discriminator.features(samples)
    comparisons, images = [], []
    for number in map(int, np.sort(numbers)):
        image = np.array(dataset.images[number])
        start, cpu_start = time.perf_counter(), time.process_time()
        found = project(generator, discriminator, image)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        own, projected = discriminator.features(np.stack([image, found.image]))
        distances = relative_distances(own, sample_features)
        nearest = int(distances.argmin())
        label = int(dataset.labels[number]) if dataset.labels is not None else None
        comparison = Comparison(
            number,
            dataset.classes[label] if label is not None else "",
            float(distances[nearest]),
            float(relative_distances(own, projected[None])[0]),
            model.classes[found.label] if found.label is not None else "",
            seconds,
            cpu_seconds,
        )
        print(comparison, flush=True)
        comparisons.append(comparison)
        images += [image, found.image, samples[nearest]]
    return comparisons, np.stack(images)


def relative_distances(features: Float32Array, others: Float32Array) -> Float32Array:
    """Return the distances of features (D,) to others (N, D), over their own length: (N,)."""
    distances: Float32Array = np.linalg.norm(others - features, axis=1) / np.linalg.norm(features)
    return distances


def summary(comparisons: list[Comparison], num_random: int) -> list[str]:
    """Return a table as Markdown, and a line about all."""
    nearer = sum(each.projection < each.random for each in comparisons)
    ratio = median(each.projection / each.random for each in comparisons)
    slowest = max(each.cpu_seconds for each in comparisons)
    rows = [
        f"| {each.number} {each.image_class} | {each.random:.3f} | {each.projection:.3f} "
        f"| {each.projection_class} | {each.cpu_seconds:.1f} |"
        for each in comparisons
    ]
    return [
        f"| image | nearest of {num_random:,} samples | projection | its class | CPU seconds |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"{nearer} of {len(comparisons)} projections are nearer; median of the ratios {ratio:.2f}; "
        f"the slowest took {slowest:.1f} s of CPU time.",
    ]


def main() -> int:
    """Write the comparison; return 1 if a projection is not nearer, or took too long."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a run directory, a model file or a shipped model")
    parser.add_argument("--data", required=True, help="a data set, as for sagan train")
    parser.add_argument("--split", default="test", help="its part")
    parser.add_argument("--num", type=int, default=20, help="images to project")
    parser.add_argument("--random", type=int, default=1000, help="random samples")
    parser.add_argument("--seed", type=int, default=0, help="decides which images")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results")
    arguments = parser.parse_args()
    model = open_model(arguments.model)
    comparisons, images = compare(
        model, arguments.data, arguments.split, arguments.num, arguments.random, arguments.seed
    )
    lines = summary(comparisons, arguments.random)
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {
        "model": arguments.model,
        "data": arguments.data,
        "split": arguments.split,
        "random": arguments.random,
        "threads": torch.get_num_threads(),
        "machine": describe_machine(),
        "results": [asdict(each) for each in comparisons],
    }
    (arguments.out / "projection.json").write_text(json.dumps(record, indent=1) + "\n")
    (arguments.out / "projection.md").write_text("\n".join(lines) + "\n")
    captions = Captions(columns=["test image", "projection", "nearest random"] * ACROSS)
    scale = visible_scale(model.config.shape, 3 * ACROSS)
    grid = captioned_grid(as_rgb(images), 3 * ACROSS, scale, captions)
    save_image(grid, arguments.out / "projection.png", model.credits)
    print("\n".join(lines))
    return not all(each.passes for each in comparisons)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SaganError as error:
        sys.exit(f"error: {error}")
