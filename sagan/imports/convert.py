"""From a file of another project to a model of ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sagan.build import build_meta_networks
from sagan.config import Config, parse_config
from sagan.errors import SaganError, counted
from sagan.imports import biggan_pytorch, heykeetae, mimicry, mmgeneration, studiogan
from sagan.imports.checkpoint import SavedNetworks, read_checkpoint
from sagan.imports.peer import Facts, Peer, read_norm_eps
from sagan.imports.residual import Converted
from sagan.imports.tensors import Tensors
from sagan.model import Model
from sagan.presets import PRESETS
from sagan.storage.torch_files import StateDict

PEERS: dict[str, Peer] = {
    "studiogan": studiogan.PEER,
    "mmgeneration": mmgeneration.PEER,
    "biggan-pytorch": biggan_pytorch.PEER,
    "heykeetae": heykeetae.PEER,
    "mimicry": mimicry.PEER,
}


def import_model(
    path: Path,
    source: str = "auto",
    discriminator: Path | None = None,
    raw: bool = False,
    assume: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> Model:
    """Read another project's weights as a model of ours, with the same images and logits.

    Args:
        path: a file written by `torch.save`: a state dict or a checkpoint, with G or with both.
        source: the project, a key of `PEERS`; "auto" recognizes it by the names of the tensors.
        discriminator: the file with D, if it is another one.
        raw: take the latest weights of G, not its average, from a checkpoint with both.
        assume: facts that the file does not show, such as "norm_eps=1e-5": fields of `Facts`.
        classes: names of the classes, in the order of the labels; by default their numbers.

    Raises:
        SaganError: a file cannot be read or is of an unknown project, a network is a variant that
            ours cannot reproduce, a fact is unknown, or the model has another number of classes.
    """
    if source != "auto" and source not in PEERS:
        raise SaganError(f"unknown project '{source}': choose auto, {', '.join(PEERS)}")
    saved = read_checkpoint(path)
    found, step = _found(saved, source), saved.step
    if discriminator is not None:
        other = read_checkpoint(discriminator)
        if "discriminator" not in (others := _found(other, source)):
            raise SaganError(f"'{discriminator}' has no discriminator, but a generator")
        found["discriminator"] = others["discriminator"]
        step = step or other.step
    name = "generator" if raw or "ema" not in found else "ema"
    if name not in found:
        raise SaganError(
            f"'{path}' has no {'raw ' if raw else ''}generator: give a file with one, and this "
            "one with --discriminator"
        )
    peer = PEERS[_project(found[name], source)]
    for kind, tensors in found.items():
        if source == "auto" and peer.role(tensors) is None:
            raise SaganError(
                f"'{tensors.origin}': its {kind} is not of {peer.title}, as the generator in "
                f"'{path}' is: give networks of one project"
            )
    facts = _with_assumptions(peer, peer.facts(found[name], saved.text), assume)
    networks = {"generator": peer.generator(found[name], facts)}
    if "discriminator" in found:
        networks["discriminator"] = peer.discriminator(found["discriminator"], facts)
        _check_agree(networks, str(path))
    for kind in networks:
        found[name if kind == "generator" else kind].check_all_taken(kind, peer.ignored)
    return _model(str(path), peer, facts, networks, step, name == "ema", tuple(classes))


def _found(saved: SavedNetworks, source: str) -> dict[str, Tensors]:
    """Return a file's networks by name: "ema", "generator", "discriminator"."""
    found = {}
    for name, tensors in saved.networks.items():
        own = Tensors(tensors, saved.origin)
        role = PEERS[_project(own, source)].role(own)
        assert role is not None
        if role != ("generator" if name == "ema" else name) and name != "unnamed":
            raise SaganError(f"'{saved.origin}' has a {role} under the name of another network")
        found[role if name == "unnamed" else name] = own
    return found


def _project(tensors: Tensors, source: str) -> str:
    """Return the project that a network comes from, a key of `PEERS`."""
    for name, peer in PEERS.items():
        if source in ("auto", name) and peer.role(tensors) is not None:
            return name
    if source == "auto":
        raise SaganError(
            f"'{tensors.origin}' is of no network that we know: its first tensor is "
            f"'{next(iter(tensors.tensors), '')}'; it must be a SAGAN of {', '.join(PEERS)}"
        )
    raise SaganError(
        f"'{tensors.origin}' is not a SAGAN of {PEERS[source].title}: it has other layers"
    )


# How to read a fact, giving None for what it cannot be; and what it can be.
_FACTS: dict[str, tuple[Callable[[str], Any], str]] = {
    "norm_eps": (read_norm_eps, "a number such as 1e-5"),
    "rectified_skip": ({"true": True, "false": False}.get, "true or false"),
    "channels": ({"rgb": "rgb", "bgr": "bgr"}.get, "rgb or bgr"),
}


def _with_assumptions(peer: Peer, facts: Facts, assume: Sequence[str]) -> Facts:
    """Return the facts with those replaced that the user knows better."""
    for assignment in assume:
        key, _, text = assignment.partition("=")
        if key not in peer.open_facts:
            choices = ", ".join(peer.open_facts) or "nothing"
            raise SaganError(f"--assume {assignment!r}: for {peer.title} choose from {choices}")
        read, values = _FACTS[key]
        if (value := read(text)) is None:
            raise SaganError(f"--assume {assignment!r}: {key} is {values}")
        facts = replace(facts, **{key: value})
    return facts


def _as_given(value: object) -> str:
    """Return a fact as `--assume` takes it."""
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _check_agree(networks: Mapping[str, Converted], origin: str) -> None:
    """Refuse two networks that were not trained together."""
    generator, discriminator = networks["generator"], networks["discriminator"]
    for what, one, other in (
        ("classes", generator.num_classes, discriminator.num_classes),
        *(
            (key, generator.settings[key], discriminator.settings[key])
            for key in generator.settings.keys() & discriminator.settings.keys()
        ),
    ):
        if one != other:
            raise SaganError(
                f"'{origin}': the generator has {what} {one}, and the discriminator {other}: "
                "import one without the other"
            )


def _model(
    origin: str,
    peer: Peer,
    facts: Facts,
    networks: Mapping[str, Converted],
    step: int,
    averaged: bool,
    classes: tuple[str, ...],
) -> Model:
    generator = networks["generator"]
    num_classes = generator.num_classes
    if classes and len(classes) != num_classes:
        raise SaganError(
            f"'{origin}' has {counted(num_classes, 'class', 'classes')}, and {len(classes)} names "
            "are given: give one name for each class, in the order of the labels"
        )
    found = {key: value for network in networks.values() for key, value in network.settings.items()}
    own = {**peer.settings, **found, "conditional": bool(num_classes)}
    preset = PRESETS.get(peer.presets.get(own["resolution"], ""))
    if "discriminator" in networks:
        own["rectified_skip"] = facts.rectified_skip
    config = parse_config({**(preset.settings if preset else {}), **own})
    tensors = {
        name: {key: tensor.clone().contiguous() for key, tensor in network.tensors.items()}
        for name, network in networks.items()
    }
    _check_shapes(config, num_classes, tensors, origin)
    model = Model(
        origin=origin,
        config=config,
        classes=classes or tuple(map(str, range(num_classes))),
        fit="crop",
        fingerprint="",
        step=step // config.d_steps if peer.counts_d_steps else step,
        card=_card(origin, peer, facts, networks, averaged, bool(classes)),
        read=lambda name: tensors.get("generator" if name == "ema" else name, {}),
    )
    # These refuse values that are not finite, and networks that would take too much memory.
    model.generator()
    if "discriminator" in networks:
        model.discriminator()
    return model


def _check_shapes(
    config: Config, num_classes: int, tensors: Mapping[str, StateDict], origin: str
) -> None:
    """Refuse tensors that are not those of our networks."""
    built: Mapping[str, Any] = dict(
        zip(("generator", "discriminator"), build_meta_networks(config, num_classes), strict=True)
    )
    for name, own in tensors.items():
        expected = {key: tuple(t.shape) for key, t in built[name].state_dict().items()}
        found = {key: tuple(t.shape) for key, t in own.items()}
        for key in [*expected, *found]:
            if expected.get(key) != found.get(key):
                raise SaganError(
                    f"'{origin}': {name}.{key} would be {found.get(key, 'missing')}, where our "
                    f"layout has {expected.get(key, 'nothing')}: it is a variant that cannot be "
                    "imported"
                )


def _card(
    origin: str,
    peer: Peer,
    facts: Facts,
    networks: Mapping[str, Converted],
    averaged: bool,
    named: bool,
) -> str:
    """Return the model card: where the weights come from, and what the file did not say."""
    weights = "averaged weights" if averaged else "weights"
    lines = [
        f"Imported from `{Path(origin).name}`: {weights} of [{peer.title}]({peer.url}).",
        "",
        "The file does not say how it was trained: settings other than those of the networks are "
        f"of the nearest preset. {'' if named else 'Classes have no names. '}Assumed: "
        + ", ".join(f"{key}={_as_given(getattr(facts, key))}" for key in peer.open_facts)
        + ".",
    ]
    if "discriminator" not in networks:
        lines += ["", "The model has no discriminator."]
    return "\n".join(lines)
