"""From a trained model to its attention figures."""

from collections.abc import Sequence
from pathlib import Path

from sagan.checkpoint import open_model
from sagan.data.decode import UnreadableError, decode
from sagan.errors import SaganError
from sagan.explain.figure import attention_figure, save_figure
from sagan.explain.queries import interesting_queries, parse_query, pixel_to_query
from sagan.explain.statistics import FloatArray, grid_sides
from sagan.inference import Maps
from sagan.pixels import UInt8Array
from sagan.sampling import grid_labels

QUERIES = 4  # dots in a picture, when none are asked for


def explain_samples(
    model: str, out: Path, queries: Sequence[str], num: int, classes: str | None, seed: int
) -> list[Path]:
    """Draw the generator's attention on its own samples.

    Args:
        model: a run directory, a model file or a shipped model's name.
        out: FILE.png, FILE.svg or FILE.pdf.
        queries: pixels "x,y" to ask about; empty for the most interesting ones.
        num: how many samples.
        classes: comma-separated class names or numbers, used in turn; None for all.
        seed: decides the latents.

    Returns:
        The files written: ``out``, or one for each attention layer if there are several.

    Raises:
        SaganError: the model, a query or a class does not exist, or the file cannot be written.
    """
    opened = open_model(model)
    chosen = None if classes is None else opened.labels(classes)
    generator = opened.generator()
    labels = grid_labels(num, generator.num_classes)
    if chosen is not None:
        labels = [chosen[i % len(chosen)] for i in range(num)]
    images, maps = generator.sample(num, labels, seed, return_attention=True)
    return draw_figures(images, maps, out, queries)


def explain_photo(model: str, photo: Path, out: Path, queries: Sequence[str]) -> list[Path]:
    """Draw the discriminator's attention on a picture, resized as the model was trained.

    Arguments, result and errors as for :func:`explain_samples`; ``photo`` is a picture file.
    """
    discriminator = open_model(model).discriminator()
    try:
        picture = decode(photo.read_bytes(), discriminator.resolution, "crop")
    except OSError as error:
        raise SaganError(f"cannot read {photo}: {error.strerror}") from None
    except UnreadableError as error:
        raise SaganError(f"{photo} is not a picture that can be read: {error}") from None
    images = picture[None]  # (1, S, S, 3)
    return draw_figures(images, discriminator.attention(images), out, queries)


def draw_figures(
    images: UInt8Array, maps: Maps, out: Path, queries: Sequence[str] = ()
) -> list[Path]:
    """Draw one figure for each attention layer.

    Args:
        images: uint8 (num, S, S, 3).
        maps: {layer name: float32 (num, N, M)}.
        out: where; with several layers each file's name gets its layer's.
        queries: pixels "x,y", the same in every image; empty for the most interesting ones.

    Raises:
        SaganError: there is no attention, a query lies outside, or a file cannot be written.
    """
    if not maps:
        raise SaganError("this model has no attention layer to show")
    written = []
    for layer, attention in maps.items():
        figure = attention_figure(images, attention, _dots(images, attention, queries), layer)
        path = out if len(maps) == 1 else out.with_name(f"{out.stem}.{layer}{out.suffix}")
        save_figure(figure, path)
        written.append(path)
    return written


def _dots(images: UInt8Array, attention: FloatArray, queries: Sequence[str]) -> list[list[int]]:
    if queries:
        side, size = grid_sides(attention)[0], images.shape[1]
        return [[pixel_to_query(*parse_query(text), size, side) for text in queries]] * len(images)
    return [
        interesting_queries(rows, image, QUERIES)
        for rows, image in zip(attention, images, strict=True)
    ]
