"""The images that a run records: a grid of samples and an attention figure."""

from pathlib import Path

from sagan.explain.draw import draw_figure, grid_dots
from sagan.gallery import save_image
from sagan.images.grid import grid_columns, image_grid
from sagan.nn.base import GeneratorBase
from sagan.sampling import GRID_IMAGES, grid_labels
from sagan.training.measurements import images_with_maps
from sagan.training.record_writer import RecordWriter

MAX_FIGURE_IMAGES = 4
FILM_DOTS = grid_dots(2)  # the same pixels at every step, so that figures can be compared


def draw_images(
    generator: GeneratorBase,
    run: Path,
    step: int,
    writer: RecordWriter,
    credits: str = "",
    figure: bool = True,
) -> None:
    """Write RUN/samples/step-N.png, RUN/attention/step-N.png if asked, the grid to TensorBoard too.

    The latents are the same at every step, and so are the pixels that the figure asks about: the
    images make a film. The grid has the samples' own pixels and no text: what shows it enlarges it
    and adds names. Both files contain the credits of the data.
    """
    classes = generator.num_classes
    images = generator.sample(GRID_IMAGES, grid_labels(GRID_IMAGES, classes))
    grid = image_grid(images, grid_columns(GRID_IMAGES, classes))
    save_image(grid, run / "samples" / f"step-{step:08d}.png", credits)
    writer.write_image("samples", grid, step)
    explained = images_with_maps(generator, MAX_FIGURE_IMAGES) if figure else 0
    if explained and generator.attention_layers():
        labels = grid_labels(explained, classes)
        images, maps = generator.sample(explained, labels, return_attention=True)
        path = run / "attention" / f"step-{step:08d}.png"
        draw_figure(path, generator, images, maps, FILM_DOTS, credits=credits)
