"""Feed mutated files to every loader: each must load or be refused in one line, and cost nothing.

    python scripts/fuzz.py --files 10000

Takes a sound model file, run directory and packed set, changes bytes, lengths and JSON values at
random, and opens them. Anything but success or the package's own error fails, and so does memory
above 1 GB or a file outside the folder that was changed.
"""

import argparse
import json
import random
import resource
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sagan.checkpoint import export_model, latest_checkpoint, open_model, read_run
from sagan.data import PackedDataset, pack
from sagan.errors import SaganError
from sagan.training.loop import Reporter, Training, make_accelerator, train
from sagan.training.session import prepare

SETTINGS = {"channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 4, "steps": 1}
GIGABYTE = 2**20  # in the kilobytes of ru_maxrss

VALUES = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, -0.0, 1e308, float("nan"), float("inf"), "", "x",
    "../../etc/passwd", "\0", "\n", "é" * 1000, [], {}, [[]] * 50, {"a": {"b": {}}}, "256", "auto",
]  # fmt: skip


class Silent(Reporter):
    """Tells nobody."""


def main() -> int:
    """Run the mutations; exit status 1 at the first that is not answered properly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # "going back to the checkpoint before" is an answer, too
    with tempfile.TemporaryDirectory() as folder:
        refused = run_files(Path(folder), arguments.files, random.Random(arguments.seed))
    print(f"{arguments.files} files: {refused} refused in one line, the others loaded")
    return 0


def run_files(folder: Path, num: int, chance: random.Random) -> int:
    """Open ``num`` mutations of sound files; return how many were refused.

    Raises:
        AssertionError: one was answered otherwise, or cost too much.
    """
    targets = _sound_targets(folder / "sound")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for i in range(num):
        name = chance.choice(sorted(targets))
        source, loader = targets[name]
        victim = folder / "victim" / source.name
        _copy(source, victim)
        changed = mutate(victim, chance)
        told = _refusal(lambda: loader(victim), f"{name}, number {i}, {changed}")  # noqa: B023
        refused += bool(told)
        assert {path.name for path in folder.iterdir()} == {"sound", "victim"}, changed
        shutil.rmtree(folder / "victim")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < GIGABYTE, f"memory grew by {grown >> 10} MB"
    return refused


def _refusal(load: Callable[[], object], what: str) -> str:
    """The one line that loading was refused with; empty if it was not."""
    try:
        load()
    except SaganError as error:
        told = str(error)
    except Exception as error:
        raise AssertionError(f"{what}: {error!r}") from error
    else:
        return ""
    assert len(told.splitlines()) == 1, f"{what}: more than a line: {told}"
    return told


def _sound_targets(folder: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """Sound files by kind, each with what opens it."""
    (folder / "pictures" / "a").mkdir(parents=True)
    (folder / "pictures" / "b").mkdir()
    noise = np.random.default_rng(0)
    for i in range(8):
        pixels = noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / "ab"[i % 2] / f"{i}.png")
    dataset = pack(str(folder / "pictures"), folder / "packed", 32)
    session = prepare(str(folder / "packed"), folder / "run", "smoke", SETTINGS, lambda line: None)
    train(session.run, session.description, session.dataset, Silent())
    export_model(open_model(folder / "run"), folder / "model.safetensors", card="# Card")

    def resume(run: Path) -> None:
        description = read_run(run)
        training = Training(session.description, dataset, make_accelerator())
        begun = latest_checkpoint(run)
        assert begun is not None
        training.restore(begun)
        assert description.config.steps

    return {
        "model": (folder / "model.safetensors", _load_both),
        "run": (folder / "run", _load_both),
        "resumed run": (folder / "run", resume),
        "packed set": (folder / "packed", PackedDataset.open),
    }


def _load_both(path: Path) -> None:
    model = open_model(path)
    model.generator()
    model.discriminator()


def _copy(source: Path, victim: Path) -> None:
    victim.parent.mkdir(exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, victim, ignore=shutil.ignore_patterns("tb", "samples", "attention"))
    else:
        shutil.copy(source, victim)


def mutate(path: Path, chance: random.Random) -> str:
    """Change one file below ``path`` in place; return what was done, for a report."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    file = chance.choice(files)
    content = file.read_bytes()
    if file.suffix == ".json" and chance.random() < 0.7:
        value = json.loads(content)
        told = _mutate_json(value, chance)
        file.write_text(json.dumps(value))
        return f"{file.name}: {told}"
    if file.suffix == ".safetensors" and chance.random() < 0.5:
        told, content = _mutate_header(content, chance)
    else:
        told, content = _mutate_bytes(content, chance)
    file.write_bytes(content)
    return f"{file.name}: {told}"


def _mutate_json(value: Any, chance: random.Random) -> str:
    """Replace, remove or add one entry somewhere in a tree of dicts and lists."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return "nothing: empty"
        key = chance.choice(keys)
        if isinstance(value[key], (dict, list)) and value[key] and chance.random() < 0.8:
            value = value[key]
            continue
        if chance.random() < 0.2:
            del value[key]
            return f"removed {key!r}"
        value[key] = chance.choice(VALUES)
        return f"{key!r} = {str(value[key])[:40]!r}"


def _mutate_header(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Change an entry of a safetensors header, with a header length that fits or does not."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    told = _mutate_json(header, chance)
    text = json.dumps(header).encode()
    size = len(text) if chance.random() < 0.8 else chance.choice([0, 2**40, 2**63, len(text) + 8])
    return f"header {told}", size.to_bytes(8, "little") + text + content[8 + length :]


def _mutate_bytes(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    kind = chance.choice(["flip", "cut", "insert", "zero", "empty"])
    at = chance.randrange(len(content) + 1)
    # Most of a file is numbers; what is interesting stands at its beginning.
    at = min(at, chance.choice([len(content), 200]))
    if kind == "flip" and content:
        at = min(at, len(content) - 1)
        flipped = content[at] ^ (1 << chance.randrange(8))
        return f"flip at {at}", content[:at] + bytes([flipped]) + content[at + 1 :]
    if kind == "cut":
        return f"cut at {at}", content[:at]
    if kind == "insert":
        return f"insert at {at}", content[:at] + chance.randbytes(8) + content[at:]
    if kind == "zero":
        return f"zeros at {at}", content[:at] + bytes(len(content[at : at + 64])) + content[
            at + 64 :
        ]
    return "empty", b""


if __name__ == "__main__":
    sys.exit(main())
