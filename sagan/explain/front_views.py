"""The view that is shown first of a shipped model: a picture that one recognizes at once."""

from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qsl

from sagan.model import Model


@dataclass(frozen=True)
class FrontView:
    """What the page opens with, and what its tour says of that picture.

    Attributes:
        view: as in the page's own URL, after "#"; it includes the point, `at`.
        looks: where the pixel at that point looks.
        another: a second pixel, (x, y).
        another_looks: where that one looks.
        without: what differs in the picture without attention.
    """

    view: str
    looks: str
    another: tuple[int, int]
    another_looks: str
    without: str


# Found by looking at the first samples of each model.
FRONT_VIEWS = {
    "avatars-64": FrontView(
        view="seed=1&index=1&at=22,26",
        looks="This edge of one lens looks at the other lens.",
        another=(34, 58),
        another_looks="A pixel of the clothes looks at the hair.",
        without="Without attention, the same numbers give this: most of the hair is gone.",
    ),
    "cifar10-32": FrontView(
        view="seed=0&index=0&at=11,19",
        looks="This pixel of the plane looks at the whole plane, and not at the sky.",
        another=(20, 7),
        another_looks="A pixel of the sky looks past the plane, at more sky.",
        without="Without attention, the same numbers give this: the plane is gone.",
    ),
    "openmoji-64": FrontView(
        view="seed=13&index=1&at=40,46",
        looks="This pixel of the chest looks at the face.",
        another=(38, 18),
        another_looks="A pixel of the hair looks at both eyes.",
        without="Without attention, the same numbers give this: the hair turns blue.",
    ),
}


def front_view(model: Model) -> str:
    """Return the view as the page's URL has it after "#"; "" for models of somebody's own."""
    front = FRONT_VIEWS.get(model.origin)
    return front.view if front else ""


def front_facts(model: Model) -> dict[str, Any] | None:
    """Return what the page's tour says of the front view, as JSON; None without such a view."""
    front = FRONT_VIEWS.get(model.origin)
    return asdict(front) if front else None


def front_sample(model: Model) -> tuple[int, int]:
    """Return seed and index of the sample that the view shows; 0, 0 without such a view."""
    view = dict(parse_qsl(front_view(model)))
    return int(view.get("seed", 0)), int(view.get("index", 0))


def front_stops(model: Model) -> list[tuple[str, str]]:
    """Return the view's two pixels, "x,y" each, with a sentence on what they look at."""
    front = FRONT_VIEWS[model.origin]
    at = dict(parse_qsl(front.view))["at"]
    x, y = front.another
    return [(at, front.looks), (f"{x},{y}", front.another_looks)]
