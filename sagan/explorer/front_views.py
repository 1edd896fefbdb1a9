"""The view that the page of a shipped model opens with: a picture that one recognizes at once."""

from urllib.parse import parse_qsl

from sagan.explorer.renderer import SampleRequest
from sagan.model import Model

# As in the page's own URL, after "#". Found by looking at the first samples of each model.
FRONT_VIEWS = {
    "cifar10-32": "seed=0&index=18&at=10,17",
    "openmoji-64": "seed=13&index=1&at=40,46",
}


def front_view(model: Model) -> str:
    """Return the view as the page's URL has it after "#"; "" for models of somebody's own."""
    return FRONT_VIEWS.get(model.origin, "")


def start_request(model: Model) -> SampleRequest:
    """Return the sample that the view shows."""
    view = dict(parse_qsl(front_view(model)))
    return SampleRequest(seed=int(view.get("seed", 0)), index=int(view.get("index", 0)))
