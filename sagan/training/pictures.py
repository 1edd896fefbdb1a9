"""What a run records as pictures: a sample grid and attention figures from fixed latents."""

from pathlib import Path

from sagan.explain.draw import draw_figure
from sagan.gallery import save_picture
from sagan.images.grid import grid_columns, image_grid
from sagan.nn.base import GeneratorBase
from sagan.sampling import grid_labels
from sagan.training.statistics import StatisticsWriter, pictures_with_maps

SAMPLES = 80  # in a grid
EXPLAINED = 4  # in an attention figure, at most


def draw_pictures(
    generator: GeneratorBase, run: Path, step: int, statistics: StatisticsWriter
) -> None:
    """Write RUN/samples/step-N.png and RUN/attention/step-N.png.

    The latents are the same at every step, so that the pictures make a film.
    """
    classes = generator.num_classes
    images = generator.sample(SAMPLES, grid_labels(SAMPLES, classes))
    grid = image_grid(images, grid_columns(SAMPLES, classes))
    save_picture(grid, run / "samples" / f"step-{step:08d}.png")
    statistics.write_image("samples", grid, step)
    explained = pictures_with_maps(generator, EXPLAINED)
    if explained and generator.attention_layers():
        labels = grid_labels(explained, classes)
        images, maps = generator.sample(explained, labels, return_attention=True)
        draw_figure(run / "attention" / f"step-{step:08d}.png", generator, images, maps)
