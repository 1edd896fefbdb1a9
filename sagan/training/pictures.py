"""What a run records as pictures: a sample grid and attention figures from fixed latents."""

from pathlib import Path

from sagan.explain.model import draw_figure
from sagan.gallery import save_picture
from sagan.inference import GeneratorBase
from sagan.sampling import grid_columns, grid_labels, image_grid
from sagan.training.statistics import StatisticsWriter

SAMPLES = 80  # in a grid
EXPLAINED = 4  # of them in an attention figure


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
    labels = grid_labels(EXPLAINED, classes)
    images, maps = generator.sample(EXPLAINED, labels, return_attention=True)
    if maps:
        draw_figure(run / "attention" / f"step-{step:08d}.png", generator, images, maps)
