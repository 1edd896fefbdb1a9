"""From a trained model to its attention figure."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from sagan.build import check_map_memory
from sagan.errors import SaganError
from sagan.explain.cut_figure import LayerCuts, cut_figure
from sagan.explain.cutting import NEARBY, cut_beyond, cut_everything, cut_samples
from sagan.explain.figure import QUERY_COLORS, attention_figure
from sagan.explain.queries import grid_queries, interesting_queries, parse_query, pixel_to_query
from sagan.explain.receptive import receptive_fields
from sagan.explain.request import FIGURE_SAMPLES, NUM_DOTS, ExplainRequest
from sagan.explain.statistics import grids
from sagan.explain.view import LayerView
from sagan.figures import check_format, save_figure
from sagan.images.decode import read_photo
from sagan.images.rgb import as_rgb
from sagan.model import Model, open_model
from sagan.nn.base import AttentionMaps, DiscriminatorBase, GeneratorBase
from sagan.nn.channels import generator_start
from sagan.runtime.device import CPU
from sagan.sampling import grid_labels
from sagan.types import FloatArray, UInt8Array

# One image's map (N, M) and the image (H, W, 3) -> the queries to show, row indices in [0, N).
Chooser: TypeAlias = Callable[[FloatArray, UInt8Array], list[int]]

MAX_DOTS = len(QUERY_COLORS)


def interesting_dots(num: int) -> Chooser:
    """Choose the `num` most interesting queries of each image, or all if there are fewer."""
    return lambda attention, image: interesting_queries(attention, image, min(num, len(attention)))


def grid_dots(num: int) -> Chooser:
    """Choose queries on a grid of `num` x `num` dots.

    Raises:
        SaganError: the layer has fewer positions; raised when the chooser is called.
    """
    return lambda attention, image: grid_queries(_positions(attention, image), num)


def given_dots(points: Sequence[str]) -> Chooser:
    """Choose the queries at pixels "x,y".

    Raises:
        SaganError: a point is not a pixel, or there are more points than colors; when the chooser
            is called, a point lies outside the image.
    """
    pixels = [parse_query(point) for point in points]
    if len(pixels) > MAX_DOTS:
        raise SaganError(
            f"{len(pixels)} query points are too many: a figure shows at most {MAX_DOTS}"
        )
    return lambda attention, image: [
        pixel_to_query(x, y, image.shape[:2], _positions(attention, image)) for x, y in pixels
    ]


def _positions(attention: FloatArray, image: UInt8Array) -> tuple[int, int]:
    return grids(attention, (image.shape[0], image.shape[1]))[0]


DEFAULT_DOTS = interesting_dots(NUM_DOTS)


def write_figure(
    model: str, out: Path, request: ExplainRequest, seed: int, device: torch.device = CPU
) -> None:
    """Write the figure that was asked for; errors as for `explain_samples`."""
    if request.cut:
        samples = request.samples(FIGURE_SAMPLES)
        explain_cuts(model, out, samples, request.classes, seed, device)
        return
    choose = interesting_dots(request.dots or NUM_DOTS)
    if request.queries:
        choose = given_dots(request.queries)
    elif request.grid is not None:
        choose = grid_dots(request.grid)
    if request.photos:
        explain_photos(model, request.photos, out, choose, device)
    else:
        samples = request.samples(FIGURE_SAMPLES)
        explain_samples(model, out, choose, samples, request.classes, seed, device)


def explain_samples(
    model: str,
    out: Path,
    choose: Chooser,
    num: int,
    classes: str | None,
    seed: int,
    device: torch.device = CPU,
) -> None:
    """Draw the generator's attention on its own samples.

    Args:
        model: a run directory, a model file or a shipped model's name.
        out: FILE.png, FILE.svg or FILE.pdf.
        choose: which queries to show.
        num: how many samples.
        classes: comma-separated class names or numbers, used in turn; None for all.
        seed: decides the latents.
        device: where the network computes.

    Raises:
        SaganError: the model, a query or a class does not exist, the model has no attention, or the
            file cannot be written.
    """
    check_format(out)
    opened = open_model(model)
    labels = labels_of(opened, num, classes)
    generator = opened.generator().to(device)
    check_map_memory(generator, num, model)
    images, maps = generator.sample(num, labels, seed, return_attention=True)
    titles = [opened.classes[label] for label in labels or ()]
    draw_figure(out, generator, images, maps, choose, titles, opened.credits)


def explain_cuts(
    model: str, out: Path, num: int, classes: str | None, seed: int, device: torch.device = CPU
) -> None:
    """Draw samples without attention, and with the attention to near keys only.

    Arguments and errors are those of `explain_samples`.
    """
    check_format(out)
    opened = open_model(model)
    labels = labels_of(opened, num, classes)
    generator = opened.generator().to(device)
    layers = generator.attention_layers()
    check_attention(layers)
    check_map_memory(generator, num, model)
    cuts = [
        LayerCuts(
            name,
            layer.gamma.item(),
            *(
                cut_samples(generator, name, cut, num, labels, seed)
                for cut in (cut_everything, cut_beyond(NEARBY))
            ),
        )
        for name, layer in layers.items()
    ]
    titles = [opened.classes[label] for label in labels or ()]
    save_figure(cut_figure(cuts, titles, opened.credits), out, opened.credits)


def labels_of(model: Model, num: int, classes: str | None) -> list[int] | None:
    """Return a label for each sample: the named classes in turn, or all; None without classes."""
    if classes is None:
        return grid_labels(num, len(model.classes) if model.config.conditional else 0)
    chosen = model.labels(classes)
    return [chosen[i % len(chosen)] for i in range(num)]


def check_attention(layers: Collection[str]) -> None:
    """Refuse a model without attention, by the names of its layers or maps."""
    if not layers:
        raise SaganError("this model has no attention layer to show")


def explain_photos(
    model: str, photos: Sequence[Path], out: Path, choose: Chooser, device: torch.device = CPU
) -> None:
    """Draw the discriminator's attention on photos, fitted as the training images were.

    Arguments and errors are those of `explain_samples`; `photos` are image files.
    """
    check_format(out)
    opened = open_model(model)
    discriminator = opened.discriminator().to(device)
    check_map_memory(discriminator, len(photos), model)
    images = np.stack([read_photo(photo, discriminator.shape, opened.fit) for photo in photos])
    maps = discriminator.attention(images)
    names = [photo.name for photo in photos]
    draw_figure(out, discriminator, images, maps, choose, names, opened.credits)


def draw_figure(
    out: Path,
    network: GeneratorBase | DiscriminatorBase,
    images: UInt8Array,
    maps: AttentionMaps,
    choose: Chooser = DEFAULT_DOTS,
    titles: Sequence[str] = (),
    credits: str = "",
) -> None:
    """Write a figure of a network's attention, with a section for each layer.

    Args:
        out: FILE.png, FILE.svg or FILE.pdf.
        network: the network that the maps come from.
        images: uint8 (num, H, W, C).
        maps: {layer name: float32 (num, N, M)}.
        choose: which queries to show.
        titles: text below each image.
        credits: of the data that the network was trained on.

    Raises:
        SaganError: the model has no attention layer, a query lies outside the image, or the file
            cannot be written.
    """
    check_attention(maps)
    images = as_rgb(images)
    layers = network.attention_layers()
    views = [
        LayerView(
            name=name,
            attention=attention,
            queries=[choose(*pair) for pair in zip(attention, images, strict=True)],
            gamma=layers[name].gamma.item(),
            field=receptive_fields(network.family, name, network.shape),
            start=generator_start(network.shape),
        )
        for name, attention in maps.items()
    ]
    save_figure(attention_figure(images, views, titles, credits), out, credits)
