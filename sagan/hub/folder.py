"""A model as the hub shows it: a folder with three files of fixed names."""

import json
from collections.abc import Mapping
from pathlib import Path

from sagan._version import __version__
from sagan.config import parse_config
from sagan.errors import SaganError
from sagan.hub.card import CardFacts, hub_card
from sagan.hub.names import LIBRARY_NAME
from sagan.storage.files import read_json, refuse_links, to_json, write_bytes

WEIGHTS = "model.safetensors"  # a model file: all that is needed, and all that is read
CONFIG = "config.json"  # its description again, for people; the hub counts downloads by its name
CARD = "README.md"


def hub_files(
    metadata: Mapping[str, str], weights: bytes, card: str, license: str, reference: str
) -> dict[str, bytes]:
    """Return the files of a model's folder: {name: content}.

    Args:
        metadata: of the model file, as `Model.metadata` returns it.
        weights: the content of the model file.
        card: the model card in Markdown; "" to have one written.
        license: an identifier of the hub; "" for none.
        reference: what `load_generator` takes.

    Raises:
        SaganError: the license is not an identifier, or the card has another one.
    """
    config, classes = json.loads(metadata["config"]), json.loads(metadata["classes"])
    step = int(metadata["step"])
    shape = str(parse_config(config).shape)
    facts = CardFacts(shape, classes, step, metadata["credits"], metadata["dataset"])
    described = {
        "library_name": LIBRARY_NAME,
        "library_version": __version__,
        "step": step,
        "classes": classes,
        "fit": metadata["fit"],
        "config": config,
    }
    return {
        WEIGHTS: weights,
        CONFIG: to_json(described),
        CARD: hub_card(facts, card, license, reference).encode(errors="backslashreplace"),
    }


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a model's folder, or replace the model in one.

    Raises:
        SaganError: it cannot be written, or contains other files of these names.
    """
    refuse_links(folder, files)
    others = [name for name in files if (folder / name).exists()]
    if others and not _is_ours(folder):
        raise SaganError(f"'{folder}' has a {others[0]} of its own: give another folder")
    for name, content in files.items():
        write_bytes(folder / name, content)


def _is_ours(folder: Path) -> bool:
    if not is_hub_folder(folder) or not (folder / CONFIG).is_file():
        return False
    content = read_json(folder / CONFIG, follow_links=False)
    return isinstance(content, dict) and content.get("library_name") == LIBRARY_NAME


def is_hub_folder(path: Path) -> bool:
    """Return whether a folder contains a model as the hub has it, and not a run.

    Someone may have exported a run's model into the run's own folder.
    """
    return (path / WEIGHTS).is_file() and not (path / "checkpoints").is_dir()
