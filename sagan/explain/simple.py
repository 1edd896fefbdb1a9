"""A figure to project in a lecture: one picture, one dot, one glow, one sentence.

As an animation, the dot moves from one pixel to the next, and the sentence with it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sagan.build import check_map_memory
from sagan.errors import SaganError
from sagan.explain.canvas import Canvas, fitted, wrapped
from sagan.explain.captions import MAX_CREDIT, credit_line, percent
from sagan.explain.draw import check_attention, labels_of
from sagan.explain.front_views import front_sample, front_stops, front_view
from sagan.explain.overlay import NEARLY_UNIFORM, heat, upsample_bilinear
from sagan.explain.panels import lit
from sagan.explain.queries import (
    interesting_queries,
    parse_query,
    pixel_to_query,
    query_to_pixel,
)
from sagan.explain.request import ExplainRequest
from sagan.explain.statistics import attended_region, attention_distance, grid_of, grids
from sagan.figures import figure_style
from sagan.images.credits import credit_options
from sagan.images.decode import read_photo
from sagan.images.rgb import as_rgb
from sagan.model import Model, open_model
from sagan.nn.base import AttentionMaps
from sagan.runtime.device import CPU
from sagan.storage.files import write_image
from sagan.types import Float32Array, FloatArray, UInt8Array

FORMATS = (".png", ".gif", ".webp")
WIDTH, HEIGHT = 1920, 1080  # pixels
CANDIDATES = 12  # samples from which the one with the sharpest attention is taken
STOPS = 5  # pixels that an animation visits, if the layer has as many

_PICTURE, _MARGIN = 896, 92  # pixels
_TEXT_LEFT = _MARGIN + _PICTURE + 84
_TEXT_WIDTH = WIDTH - _TEXT_LEFT - _MARGIN
_PAPER, _INK, _QUIET = "#131315", "#f1efec", "#a8a39b"
_DOT = (255, 77, 46)  # as on the page
_RADIUS, _RIM, _CASING = 15, 5, 3
_SENTENCE_SIZE, _SENTENCE_LINE = 15.0, 70  # points, pixels
_CREDIT_SIZE = 5.5
_STAY, _FRAME, _MOVES = 2600, 60, 9  # milliseconds at a pixel and of a move's frames; their number


def write_simple(
    model: str, out: Path, request: ExplainRequest, seed: int, device: torch.device = CPU
) -> None:
    """Write the simple figure: FILE.png, or FILE.gif or FILE.webp in which the dot moves.

    It shows a photo, or the sample with the sharpest attention of several, or the first one if
    there is a query. Unless anything is asked for, a shipped model shows its front view.

    Args:
        model: a run directory, a model file or a shipped model's name.
        out: the file.
        request: the options.
        seed: decides the latents.
        device: where the network computes.

    Raises:
        SaganError: the model, a class or the query cannot be used, the model has no attention, or
            the file has another ending or cannot be written.
    """
    extension = out.suffix.lower()
    if extension not in FORMATS:
        raise SaganError(f"a simple figure is FILE.png, FILE.gif or FILE.webp, not '{out.name}'")
    opened = open_model(model)
    plain = not (request.photos or request.queries or request.num or request.classes or seed)
    if plain and front_view(opened):
        seed, index = front_sample(opened)
        images, maps = _samples(opened, index + 1, None, seed, device)
        stops = front_stops(opened)
    else:
        images, maps = _drawn(opened, request, seed, device)
        index = 0 if request.queries else _sharpest(_first_layer(maps), images)
        stops = [(text, "") for text in request.queries]
    image, attention = images[index], _first_layer(maps)[index]
    size = image.shape[0], image.shape[1]
    num = STOPS if extension != ".png" else 1
    if stops:
        grid = grids(attention, size)[0]
        queries = [pixel_to_query(*parse_query(at), size, grid) for at, _ in stops][:num]
        sentences = [
            text or simple_sentence(attention, query, size)
            for query, (_, text) in zip(queries, stops, strict=False)
        ]
    else:
        queries = interesting_queries(attention, image, min(num, len(attention)))
        sentences = [simple_sentence(attention, query, size) for query in queries]
    slides = [_slide(sentence, opened.credits) for sentence in sentences]
    moving = _slide("", opened.credits)  # no sentence is about the pixels in between
    frames, durations = _frames(image, attention, queries, slides, moving)
    write_image(
        out,
        Image.fromarray(frames[0]),
        **({} if extension == ".png" else _animated(frames, durations)),
        **credit_options(extension, opened.credits),
    )


def simple_sentence(attention: FloatArray, query: int, size: tuple[int, int]) -> str:
    """Return what a pixel's attention is like, in one sentence.

    Args:
        attention: float (N, M), one image's map.
        query: the pixel, a row of it.
        size: of the image in pixels, (H, W).
    """
    half = attended_region(attention[query]).mean()
    if half > NEARLY_UNIFORM:
        return "Young: this pixel looks at the whole picture, almost evenly."
    if is_young(attention):
        return "Young: most pixels look at one place."
    away = attention_distance(attention[None], size)[0, query]
    return (
        "While it draws the pixel at the dot, the network looks at the glow: half of the attention "
        f"is on {percent(half)} of the picture, {away:.0f} pixels away on average."
    )


def is_young(attention: FloatArray) -> bool:
    """Return whether most pixels look at one place, as in models that are not trained long.

    That is so if more than half of the pixels give more than half of their attention to the region
    that gets half of the average attention.
    """
    common = attended_region(attention.mean(axis=0))
    alike = attention[:, common].sum(axis=1) > 0.5
    return bool(common.mean() <= NEARLY_UNIFORM / 2 and alike.mean() > 0.5)


def _drawn(
    model: Model, request: ExplainRequest, seed: int, device: torch.device
) -> tuple[UInt8Array, AttentionMaps]:
    """The pictures to choose from, uint8 (num, H, W, 3), and their maps."""
    if request.photos:
        discriminator = model.discriminator().to(device)
        check_map_memory(discriminator, 1, model.origin)
        photos = np.stack([read_photo(request.photos[0], discriminator.shape, model.fit)])
        return as_rgb(photos), discriminator.attention(photos)
    num = request.num or (1 if request.queries else CANDIDATES)
    return _samples(model, num, request.classes, seed, device)


def _samples(
    model: Model, num: int, classes: str | None, seed: int, device: torch.device
) -> tuple[UInt8Array, AttentionMaps]:
    generator = model.generator().to(device)
    labels = labels_of(model, num, classes)
    check_map_memory(generator, num, model.origin)
    images, maps = generator.sample(num, labels, seed, return_attention=True)
    return as_rgb(images), maps


def _first_layer(maps: AttentionMaps) -> Float32Array:
    """The map (num, N, M) of the first attention layer."""
    check_attention(maps)
    return next(iter(maps.values()))


def _sharpest(attention: FloatArray, images: UInt8Array) -> int:
    """The image in which the pixel most worth a look gives half of its attention to least.

    Images in which most pixels look at one place come last.
    """
    order = [
        (is_young(rows), attended_region(rows[interesting_queries(rows, image, 1)[0]]).mean())
        for rows, image in zip(attention, images, strict=True)
    ]
    return order.index(min(order))


def _slide(sentence: str, credits: str) -> UInt8Array:
    """The text, with an empty place for the picture: uint8 (HEIGHT, WIDTH, 3)."""
    with figure_style():
        canvas = Canvas(WIDTH, HEIGHT)
        canvas.figure.set_facecolor(_PAPER)
        lines = wrapped(sentence, _TEXT_WIDTH, _SENTENCE_SIZE)
        top = (HEIGHT - len(lines) * _SENTENCE_LINE) // 2
        for i, line in enumerate(lines):
            place = _TEXT_LEFT, top + i * _SENTENCE_LINE
            canvas.text(*place, line, size=_SENTENCE_SIZE, color=_INK)
        if credits:
            line = fitted(credit_line(credits), WIDTH - 2 * _MARGIN, _CREDIT_SIZE, MAX_CREDIT)
            canvas.text(_MARGIN, HEIGHT - 56, line, size=_CREDIT_SIZE, color=_QUIET)
        drawn = canvas.figure.canvas
        drawn.draw()
        return np.array(drawn.buffer_rgba())[..., :3]  # type: ignore[attr-defined]


def _frames(
    image: UInt8Array,
    attention: FloatArray,
    queries: Sequence[int],
    slides: Sequence[UInt8Array],
    moving: UInt8Array,
) -> tuple[list[UInt8Array], list[int]]:
    """The frames, and how long each is shown in milliseconds; the last leads back to the first."""
    size = image.shape[0], image.shape[1]
    grid = grids(attention, size)[0]
    places = [np.array(query_to_pixel(query, 1.0, grid)) for query in queries]
    frames, durations = [], []
    for i, (query, slide) in enumerate(zip(queries, slides, strict=True)):
        frames.append(_with_picture(slide, image, attention[query], places[i]))
        durations.append(_STAY)
        if len(queries) == 1:
            break
        following = (i + 1) % len(queries)
        for step in range(1, _MOVES):
            share = (1 - np.cos(np.pi * step / _MOVES)) / 2  # slow at both ends
            at = (1 - share) * places[i] + share * places[following]
            row, column = (at[::-1] * grid).astype(int)
            under = attention[row * grid[1] + column]
            frames.append(_with_picture(moving, image, under, at))
            durations.append(_FRAME)
    return frames, durations


def _with_picture(
    slide: UInt8Array, image: UInt8Array, row: FloatArray, at: FloatArray
) -> UInt8Array:
    """A slide with the picture, the glow of one row of attention, and a dot at (x, y) in [0, 1]."""
    scale = max(1, _PICTURE // max(image.shape[:2]))
    shown = Image.fromarray(_glowing(image, row, scale))
    shown.thumbnail((_PICTURE, _PICTURE), Image.Resampling.BOX)  # only if it is larger
    picture = np.array(shown)
    height, width = picture.shape[:2]
    _draw_dot(picture, at[0] * width, at[1] * height)
    frame = slide.copy()
    top, left = (HEIGHT - height) // 2, _MARGIN + (_PICTURE - width) // 2
    frame[top : top + height, left : left + width] = picture
    return frame


def _glowing(image: UInt8Array, row: FloatArray, scale: int) -> UInt8Array:
    """The enlarged image with attention as heat, less dark than in a figure on paper."""
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = large.shape[:2]
    brightness = heat(row).reshape(grid_of(row.size, (image.shape[0], image.shape[1])))
    gray = large @ np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709, on the stored values
    dim = np.asarray(0.7 * (0.5 * large + 0.5 * gray[..., None]), dtype=np.uint8)
    return lit(dim, upsample_bilinear(brightness, (height, width)))


def _draw_dot(picture: UInt8Array, x: float, y: float) -> None:
    """Draw a disc with a white rim and a dark casing, with smooth edges, in place."""
    rows, columns = np.ogrid[: picture.shape[0], : picture.shape[1]]
    distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y)[..., None]
    for radius, color in (
        (_RADIUS + _RIM + _CASING, (8, 8, 12)),
        (_RADIUS + _RIM, (255, 255, 255)),
        (_RADIUS, _DOT),
    ):
        inside = np.clip(radius - distance + 0.5, 0, 1)
        picture[:] = np.rint((1 - inside) * picture + inside * np.array(color))


def _animated(frames: Sequence[UInt8Array], durations: Sequence[int]) -> dict[str, object]:
    """Pillow's options for an animation that repeats."""
    rest = [Image.fromarray(frame) for frame in frames[1:]]
    return {"save_all": True, "append_images": rest, "duration": list(durations), "loop": 0}
