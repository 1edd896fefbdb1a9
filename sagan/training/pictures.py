"""What a run records as pictures: a sample grid and attention figures from fixed latents."""

from pathlib import Path

from PIL import Image

from sagan.explain import attention_distance, attention_entropy
from sagan.explain.model import draw_figures
from sagan.inference import GeneratorBase, Maps
from sagan.sampling import grid_columns, grid_labels, image_grid
from sagan.training.statistics import Record, StatisticsWriter

SAMPLES = 80  # in a grid
EXPLAINED = 4  # of them in an attention figure


def draw_pictures(
    generator: GeneratorBase, run: Path, step: int, statistics: StatisticsWriter
) -> Record:
    """Write RUN/samples/step-N.png and RUN/attention/step-N.png; return attention numbers.

    The latents are the same at every step, so that the pictures make a film.
    """
    labels = grid_labels(SAMPLES, generator.num_classes)
    images, maps = generator.sample(SAMPLES, labels, return_attention=True)
    grid = image_grid(images, grid_columns(SAMPLES, generator.num_classes))
    Image.fromarray(grid).save(run / "samples" / f"step-{step:08d}.png")
    statistics.write_image("samples", grid, step)
    if maps:
        explained = {layer: attention[:EXPLAINED] for layer, attention in maps.items()}
        draw_figures(images[:EXPLAINED], explained, run / "attention" / f"step-{step:08d}.png")
    return _attention_statistics(maps, generator.resolution)


def _attention_statistics(maps: Maps, resolution: int) -> Record:
    """Mean distance in pixels and mean entropy in nats of each layer, over images and queries."""
    record: Record = {}
    for layer, attention in maps.items():
        distance = attention_distance(attention, resolution)
        record[f"attention/{layer}/distance"] = float(distance.mean())
        record[f"attention/{layer}/entropy"] = float(attention_entropy(attention).mean())
    return record
