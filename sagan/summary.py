"""Configurations, models, presets and data sets as tables and lines of text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args, get_origin

import yaml
from rich.table import Table
from rich.text import Text

from sagan.config import Config, resolve
from sagan.errors import counted, printable
from sagan.presets import PRESETS

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from sagan.data import DatasetInfo
    from sagan.model import Model
    from sagan.nn.base import DiscriminatorBase, GeneratorBase
    from sagan.run.directory import RunDescription, StartRecord

MAX_LISTED = 20  # unreadable files and copies that are named; pack.json has more


def config_table(config: Config, title: str) -> Table:
    """Return a table of all settings: value, meaning and, if there are few, the choices."""
    named = Text(printable(title))  # not markup, as in "photos [old]"
    table = Table(box=None, title=named, title_justify="left", padding=(0, 2, 0, 0))
    for heading in ("setting", "value", ""):
        table.add_column(heading, header_style="dim", style="dim" if not heading else "")
    for key, value in config.model_dump(mode="json").items():
        table.add_row(key, _text(value), _meaning(Config.model_fields[key]))
    return table


def yaml_lines(config: Config, preset: str) -> Iterator[str]:
    """Yield a configuration as a file for `sagan train --config`, each setting explained."""
    yield f"preset: {preset}"
    for key, value in config.model_dump(mode="json").items():
        text = yaml.safe_dump(value, default_flow_style=True).splitlines()[0]
        yield f"{f'{key}: {text}':<32}# {_meaning(Config.model_fields[key])}"


def _meaning(field: "FieldInfo") -> str:
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    listed = f" ({', '.join(map(str, choices))})" if choices else ""
    return f"{field.description}{listed}"


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool | None):
        return json.dumps(value)  # as --set takes it
    return f"{value:g}" if isinstance(value, float) else str(value)


def network_lines(config: Config, num_classes: int) -> Iterator[str]:
    """Yield a line on the size of each network."""
    from sagan.build import build_meta_networks, count_parameters

    generator, discriminator = build_meta_networks(config, num_classes)
    networks: dict[str, GeneratorBase | DiscriminatorBase] = {
        "generator": generator,
        "discriminator": discriminator,
    }
    for name, network in networks.items():
        layers = ", ".join(network.attention_layers()) or "no attention"
        yield f"{name:<13}{count_parameters(network):>12,} parameters, {layers}"


def training_lines(description: "RunDescription") -> Iterator[str]:
    """Yield lines on what will be trained: the preset, what differs from it, data, networks."""
    config, preset = description.config, description.preset
    if preset in PRESETS:
        yield f"preset       {preset} (sagan presets {preset} lists all settings)"
    yield (
        f"recipe       {_size(config)}, {counted(config.steps, 'step', 'steps')}, "
        f"batch {config.batch_size}, seed {config.seed}"
    )
    if preset in PRESETS:
        yield f"changed      {', '.join(_changes(config, resolve(preset))) or 'nothing'}"
    yield from description_lines(description)


def _size(config: Config) -> str:
    return f"{config.resolution} px" + f" {config.colors}" * (config.colors != "rgb")


def _changes(config: Config, preset: Config) -> Iterator[str]:
    """Yield each setting that differs from the preset, with the preset's value."""
    own, others = (c.model_dump(mode="json") for c in (config, preset))
    for key, value in own.items():
        if value != others[key] and others[key] is not None:  # null: left to the data
            yield f"{key}={_text(value)} (preset: {_text(others[key])})"


def description_lines(description: "RunDescription") -> Iterator[str]:
    """Yield lines on a run's data and networks."""
    data = description.data
    labels = counted(len(data["classes"]), "class", "classes") if data["classes"] else "no labels"
    pictures = counted(data["images"], "picture", "pictures")
    yield f"data         {data['source']}: {pictures}, {labels}"
    if description.start is not None:
        yield from start_lines(description.start)
    yield from network_lines(description.config, len(data["classes"]))


def start_lines(start: "StartRecord") -> Iterator[str]:
    """Yield lines on what a run took from the model that it started from."""
    taken = ", ".join(
        f"{part} of {whole} tensors of the {network}"
        for network, (part, whole) in start.taken.items()
    )
    yield f"from         {start.model}, step {start.step:,}: {taken}"
    yield f"fresh        {_listed(start.fresh) or 'none: all layers were taken'}"
    if start.new_classes:
        yield f"new classes  {_listed(start.new_classes)}"


def _listed(names: Sequence[str], most: int = 6) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def model_lines(model: "Model") -> Iterator[str]:
    """Yield lines on a trained model, its card last."""
    yield f"images       {model.config.resolution} px {model.config.colors}"
    yield f"trained      {counted(model.step, 'step', 'steps')}"
    yield f"classes      {', '.join(model.classes) or 'none: unconditional'}"
    size_g, size_d = network_lines(model.config, len(model.classes))
    networks: list[GeneratorBase | DiscriminatorBase] = [model.generator()]
    if model.read("discriminator"):
        networks.append(model.discriminator())
    else:
        size_d = "discriminator: none, as this model was imported without it"
    yield from (size_g, size_d)
    yield from credit_lines(model.credits)
    for network in networks:
        for name, layer in network.attention_layers().items():
            yield f"gamma        {float(layer.gamma.detach()):+.4f} in {name}"
    if model.card:
        yield from ("", *model.card.splitlines())


def preset_lines() -> Iterator[str]:
    """Yield two lines for each preset: its main settings and its source."""
    for name, preset in PRESETS.items():
        config = resolve(name)
        yield (
            f"{name:<21}{config.resolution} px {config.colors}, {config.family}, "
            f"widths {config.channels_g}/{config.channels_d}, "
            f"batch {config.batch_size}, lr {config.lr_g:g}/{config.lr_d:g}"
        )
        yield f"{'':<21}{preset.source}"


def dataset_lines(info: "DatasetInfo") -> Iterator[str]:
    """Yield lines on what was found in a source and what it means for training."""
    from sagan.data import advice
    from sagan.runtime.machine import this_machine

    yield f"{info.source}: {counted(info.num_images, 'picture', 'pictures')}"
    if info.splits:
        yield f"split        {info.split} (of {', '.join(info.splits)})"
    if info.widths is not None and info.heights is not None:
        for name, spread in (("widths", info.widths), ("heights", info.heights)):
            yield (
                f"{name:<13}{spread.smallest} to {spread.largest} pixels, median {spread.median:g}"
            )
    yield f"formats      {_counts(info.formats)}"
    yield f"modes        {_counts(info.modes)}"
    yield f"classes      {len(info.classes) or 'none: unlabeled'}"
    for name, count in info.counts.items():
        yield f"  {name:<24}{count:>9,}"
    unreadable = [f"{name}: {reason}" for name, reason in info.unreadable.items()]
    yield from _first("unreadable", unreadable, info.num_unreadable)
    copies = [f"{name} is the same as {first}" for name, first in info.copies]
    yield from _first("duplicate", copies, info.num_copies)
    near_copies = [f"{name} is nearly the same as {first}" for name, first in info.near_copies]
    yield from _first("near-copy", near_copies, info.num_near_copies)
    for note in info.notes:
        yield f"note         {note}"
    yield from credit_lines(info.credits)
    if info.num_images:
        machine = this_machine()
        yield f"suggestion   {advice.suggestion(info, machine)}"
        for line in (advice.size_suggestion(info, machine), advice.color_suggestion(info)):
            if line:
                yield f"suggestion   {line}"
    for warning in advice.warnings(info):
        yield f"warning      {warning}"


def credit_lines(credits: str) -> Iterator[str]:
    """Yield a line for each line of credits."""
    for i, line in enumerate(credits.splitlines()):
        yield f"{'credits' if i == 0 else '':<13}{line}"


def _first(heading: str, lines: Sequence[str], number: int) -> Iterator[str]:
    """Yield the first of `number` lines, and how many more there are."""
    shown = lines[:MAX_LISTED]
    for line in shown:
        yield f"{heading:<13}{line}"
    if number > len(shown):
        yield f"{heading:<13}and {number - len(shown):,} more"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
