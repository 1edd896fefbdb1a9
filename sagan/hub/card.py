"""README.md of a model on the hub: its model card, after the metadata that the hub reads.

The metadata is YAML between two lines of dashes. JSON is valid YAML, so values are written as JSON.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sagan.errors import SaganError, printable
from sagan.hub.names import LIBRARY_NAME, PREFIX

MAX_NAMES = 20  # class names in a card; config.json has all of them
PAPER = "[arXiv 1805.08318](https://arxiv.org/abs/1805.08318)"  # the hub links models by it

# A card that begins with metadata of its own.
_FRONT_MATTER = re.compile(r"---\n(?P<metadata>.*?\n|)---\n(?P<body>.*)", re.DOTALL)


@dataclass(frozen=True)
class CardFacts:
    """What a card says of a model.

    Attributes:
        shape: of its images, for people, such as "64 x 64".
        classes: names of the labels; empty for an unconditional model.
        step: number of generator updates.
        credits: who made its training images, in lines of text; "" if unknown.
        dataset: its data set, hf:USER/NAME; "" if it is not from the hub.
    """

    shape: str
    classes: Sequence[str]
    step: int
    credits: str
    dataset: str


def hub_card(facts: CardFacts, card: str, license: str, reference: str) -> str:
    """Return the content of README.md.

    Args:
        facts: facts about the model.
        card: its model card in Markdown; "" to write one from the facts. Metadata at its beginning
            is kept, and what it lacks is added.
        license: an identifier of the hub, such as "mit"; "" for none.
        reference: what `load_generator` takes, such as "hf:USER/NAME".

    Raises:
        SaganError: the license is not an identifier, or the card has another one.
    """
    found = _FRONT_MATTER.fullmatch(card.replace("\r\n", "\n"))
    own, body = (found["metadata"], found["body"]) if found else ("", card)
    given = set(re.findall(r"^([\w-]+)\s*:", own, re.MULTILINE))
    if license and "license" in given:
        raise SaganError("the model card has a license already: leave out the other")
    added = [
        f"{key}: {json.dumps(value)}"
        for key, value in _metadata(facts, license).items()
        if key not in given
    ]
    body = body.strip() or _description(facts, reference)
    if reference not in body:
        body += "\n\n" + _usage(facts, reference)
    if facts.credits and "## Credits" not in body:
        body += "\n\n" + _credits(facts)
    return "---\n" + own + "\n".join(added) + f"\n---\n\n{body}\n"


def _metadata(facts: CardFacts, license: str) -> Mapping[str, object]:
    if license and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", license):
        raise SaganError(
            f"license '{printable(license)}' is not an identifier of the hub: give one such as "
            "mit, apache-2.0, cc-by-4.0, cc-by-sa-4.0 or other"
        )
    kind = ["class-conditional"] if facts.classes else []
    return {
        **({"license": license} if license else {}),
        "library_name": LIBRARY_NAME,
        "pipeline_tag": "unconditional-image-generation",  # no text describes the images
        "tags": ["gan", "sagan", "self-attention", "image-generation", *kind],
        **({"datasets": [facts.dataset.removeprefix(PREFIX)]} if facts.dataset else {}),
    }


def _description(facts: CardFacts, reference: str) -> str:
    parts = [
        f"# {_plain(reference.rpartition('/')[2].partition('@')[0])}",
        f"A self-attention GAN (Zhang et al. 2018, {PAPER}) that draws {facts.shape} images, "
        f"trained for {facts.step:,} steps. `config.json` has all settings.",
    ]
    if facts.classes:
        names = ", ".join(map(_plain, facts.classes[:MAX_NAMES]))
        more = len(facts.classes) - MAX_NAMES
        parts.append(f"{len(facts.classes)} classes: {names}{f' and {more} more' * (more > 0)}.")
    return "\n\n".join(parts)


def _usage(facts: CardFacts, reference: str) -> str:
    labels = ", labels=[0] * 16" if facts.classes else ""
    return f"""## Use

With the package torch-sagan, on the command line or in Python:

```sh
sagan sample {reference} --out grid.png
```

```python
from sagan import load_generator

images = load_generator("{reference}").sample(16{labels})  # uint8
```"""


def _credits(facts: CardFacts) -> str:
    """Return who made the training images: their licenses may ask for it."""
    lines = [f"* {_plain(line)}" for line in facts.credits.splitlines()]
    return "## Credits\n\nThe training images:\n\n" + "\n".join(lines)


def _plain(text: str) -> str:
    """Escape what Markdown or HTML would take for markup: names may come from anyone."""
    return re.sub(r"([\\`*_{}\[\]<>#!|~&@])", r"\\\1", printable(text))
