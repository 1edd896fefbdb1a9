"""Feed mutated files to every loader: each must load or be refused in one line, and cost nothing.

    python scripts/fuzz.py --files 10000
    python scripts/fuzz.py --files 500 --kind model --kind cifar --seed 7

Takes sound model files, run directories, packed sets and pictures in every kind of container,
changes bytes, lengths, JSON values and names at random, and opens them. Anything but success or
the package's own error fails, and so do a minute without an answer, memory above 1 GB, and
opening any file for writing, or a file that only a mutation names, outside the target folder.
"""

import argparse
import faulthandler
import io
import json
import os
import pickle
import random
import resource
import shutil
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
from PIL import Image

from sagan.data import PackedDataset, describe, pack, workers
from sagan.errors import SaganError
from sagan.model import export_model, open_model
from sagan.run import directory
from sagan.run.checkpoint import latest_checkpoint
from sagan.run.stats import read_statistics
from sagan.runtime.processes import make_accelerator
from sagan.training.loop import train
from sagan.training.recorder import Reporter
from sagan.training.session import prepare
from sagan.training.state import Training

SETTINGS: dict[str, Any] = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 4, "steps": 1,
}  # fmt: skip
GIGABYTE = 2**20  # in the kilobytes of ru_maxrss
SECONDS = 120  # for one file, on a machine that may do other things
ELSEWHERE = "/etc/passwd"  # no loader has a reason to open it

VALUES = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**400, -0.0, 1e308, float("nan"), float("inf"), "", "x",
    f"../../../../../..{ELSEWHERE}", ELSEWHERE, "\0", "\n", "\ud800", "é" * 1000, [], {}, [[]] * 50,
    {"a": {"b": {}}}, "256", "auto",
]  # fmt: skip

Load = Callable[[Path], object]
Target = tuple[Path, Load]  # something sound, and what opens it or a mutation of it


class Silent(Reporter):
    """Tells nobody."""


class Watch:
    """Sees every file that Python opens for writing, makes, renames or removes, and commands run.

    Args:
        allowed: the folder in which files may be changed.

    Attributes:
        trespasses: what was done elsewhere while it watched.
    """

    # And from which argument on they are folders that are open, rather than lengths and modes.
    NAMES: ClassVar = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 2, "os.link": 2,
             "os.symlink": 2, "os.truncate": 2, "os.chmod": 2}  # fmt: skip
    NEVER = ("subprocess.Popen", "os.system", "socket.connect", "pickle.find_class")

    def __init__(self, allowed: Path) -> None:
        self.allowed = allowed
        self.trespasses: list[str] = []
        self._on = False
        sys.addaudithook(self._see)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch within the context."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._on and self._is_trespass(event, arguments):
            self.trespasses.append(f"{event} {arguments}")

    def _is_trespass(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):  # opened before
                return False
            changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            return str(path) == ELSEWHERE or (bool(changes) and not self._is_allowed(path))
        if event in self.NAMES:
            # Within a folder that is open, of which the name was seen before.
            paths = [path for path in arguments if isinstance(path, (str, bytes, os.PathLike))]
            places = arguments[self.NAMES[event] :]
            folders = [number for number in places if isinstance(number, int) and number > 2]
            return not (folders or all(map(self._is_allowed, paths)))
        return event in self.NEVER

    def _is_allowed(self, path: Any) -> bool:
        whole = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 -- not where links lead
        return whole.is_relative_to(self.allowed)


def main() -> int:
    """Run the mutations; exit status 1 at the first that is not answered properly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", help="of target; by default all")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # "going back to the checkpoint before" is an answer, too
    datasets.disable_progress_bars()
    workers.available_cores = lambda: 1  # pictures are decoded in this process, which is watched
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        datasets.config.HF_DATASETS_CACHE = folder / "victim" / "cache"
        targets = sound_targets(folder / "sound")
        kinds = arguments.kind or sorted(targets)
        chosen = {kind: targets[kind] for kind in kinds}
        run_files(folder, chosen, arguments.files, random.Random(arguments.seed))
    return 0


def run_files(folder: Path, targets: dict[str, Target], num: int, chance: random.Random) -> None:
    """Open `num` mutations of sound files.

    Raises:
        AssertionError: one was answered otherwise, or cost too much.
    """
    place = folder / "victim"
    watch = Watch(place)
    for kind, (source, load) in targets.items():
        _open(source, load, watch, f"{kind}, as it is", lambda path: "nothing")
    before, peak = _content(folder / "sound"), _memory()
    opened: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for i in range(num):
        kind = chance.choice(sorted(targets))
        told = _open(
            *targets[kind], watch, f"{kind}, number {i}", lambda path: mutate(path, chance)
        )
        opened[kind] += 1
        refused[kind] += bool(told)
        grown = _memory() - peak
        assert grown < GIGABYTE, f"{kind}, number {i}: memory grew by {grown >> 10} MB"
        if i % 1000 == 999:
            print(f"{i + 1} files, memory at most {_memory() >> 10} MB", flush=True)
    assert _content(folder / "sound") == before
    for kind in sorted(opened):
        print(f"{kind}: {opened[kind]} files, {refused[kind]} refused, the others loaded")
    print(f"{num} files: {sum(refused.values())} refused in one line, the others loaded; "
          f"memory at most {_memory() >> 10} MB, {peak >> 10} MB before")  # fmt: skip


def _open(source: Path, load: Load, watch: Watch, what: str, change: Callable[[Path], str]) -> str:
    """The one line that a changed copy was refused with; empty if it was not."""
    victim = watch.allowed / source.name
    _copy(source, victim)
    changed, told = change(victim), ""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        with watch.on():
            load(victim)
    except SaganError as error:
        told = str(error)
    except Exception as error:
        raise AssertionError(f"{what}, {changed}: {error!r}") from error
    faulthandler.cancel_dump_traceback_later()
    shutil.rmtree(watch.allowed)
    assert changed != "nothing" or not told, f"{what}: {told}"
    assert len(told.splitlines()) <= 1, f"{what}, {changed}: more than a line: {told}"
    assert not watch.trespasses, f"{what}, {changed}: {watch.trespasses}"
    return told


def _memory() -> int:
    """The most that this process or one of its children ever took, in kilobytes."""
    return max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _copy(source: Path, victim: Path) -> None:
    victim.parent.mkdir()
    if source.is_dir():
        shutil.copytree(source, victim, ignore=shutil.ignore_patterns("tb", "samples", "attention"))
    else:
        shutil.copy(source, victim)


# ---------------------------------------------------------------------------------------------
# Sound files


def sound_targets(folder: Path) -> dict[str, Target]:
    """Sound files by kind, each with what opens it."""
    folder.mkdir()
    return _model_targets(folder) | _source_targets(folder)


def _model_targets(folder: Path) -> dict[str, Target]:
    packed = pack(str(_folder_of_pictures(folder)), folder / "packed", 32)
    session = prepare(str(packed.path), folder / "run", "smoke", SETTINGS, lambda line: None)
    train(session.run, session.description, session.dataset, Silent())
    export_model(open_model(folder / "run"), folder / "model.safetensors", card="# Card")

    def resume(run: Path) -> None:
        again = prepare(str(packed.path), run, None, SETTINGS, lambda line: None)
        training = Training(again.description, packed, make_accelerator())
        begun = latest_checkpoint(run)
        if begun is not None:
            training.restore(begun)
        read_statistics(run)
        directory.read_environment(run)

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


def _source_targets(folder: Path) -> dict[str, Target]:
    made = {
        "folder": folder / "pictures",
        "zip": _zip(folder / "x.zip"),
        "cifar": _cifar(folder / "cifar"),
        "cifar archive": _cifar_archive(folder / "cifar", folder / "cifar.tar.gz"),
        "parquet": _parquet(folder / "x.parquet"),
        "tar": _tar(folder / "x.tar"),
    }
    return {kind: (path, _pack_and_describe) for kind, path in made.items()}


def _pack_and_describe(path: Path) -> None:
    pack(str(path), path.parent / "packed", 32)
    describe(str(path))


def _picture(number: int, ending: str) -> bytes:
    """A picture of noise."""
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, ending)
    return file.getvalue()


ENDINGS = ("png", "jpeg", "webp", "gif", "bmp", "tiff")


def _folder_of_pictures(folder: Path) -> Path:
    for i in range(12):
        path = folder / "pictures" / "ab"[i % 2] / f"{i}.{ENDINGS[i % len(ENDINGS)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_picture(i, ENDINGS[i % len(ENDINGS)]))
    return folder / "pictures"


def _zip(path: Path) -> Path:
    labels = [[f"{i}.png", i % 2] for i in range(6)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(6):
            archive.writestr(f"{i}.png", _picture(i, "png"))
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return path


def _cifar(folder: Path) -> Path:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    for name in ("train", "test"):
        content = {b"fine_labels": [0, 1, 0, 1], b"data": pixels}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": ["a", "b"]}, protocol=2))
    return folder


def _cifar_archive(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, f"cifar-100-python/{file.name}")
    return path


def _parquet(path: Path) -> Path:
    pictures = [{"bytes": _picture(i, "png"), "path": f"{i}.png"} for i in range(6)]
    rows = [{"image": picture, "label": i % 2} for i, picture in enumerate(pictures)]
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    datasets.Dataset.from_list(rows, datasets.Features(kinds)).to_parquet(str(path))
    return path


def _tar(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for i in range(6):
            for ending, content in (("png", _picture(i, "png")), ("cls", b"01"[i % 2 : i % 2 + 1])):
                member = tarfile.TarInfo(f"{i}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


# ---------------------------------------------------------------------------------------------
# Mutations


def mutate(path: Path, chance: random.Random) -> str:
    """Change one file or name at or below `path` in place; return what was done, for a report."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    file = chance.choice(files)
    if chance.random() < 0.1:
        return f"{file.name}: {_mutate_name(file, chance.choice(files), chance)}"
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


def _mutate_name(file: Path, other: Path, chance: random.Random) -> str:
    """Remove a file, or put something else in its place."""
    kind = chance.choice(["removed", "folder", "link", "pipe", "device", "swapped"])
    if kind == "swapped":
        one, another = file.read_bytes(), other.read_bytes()
        file.write_bytes(another)
        other.write_bytes(one)
        return f"swapped with {other.name}"
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "link":
        file.symlink_to(chance.choice([ELSEWHERE, "nowhere", file.name]))
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    return kind


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
    told = _mutate_metadata(header, chance) if chance.random() < 0.5 else ""
    told = told or _mutate_json(header, chance)
    text = json.dumps(header).encode()
    size = len(text) if chance.random() < 0.8 else chance.choice([0, 2**40, 2**63, len(text) + 8])
    return f"header {told}", size.to_bytes(8, "little") + text + content[8 + length :]


def _mutate_metadata(header: dict[str, Any], chance: random.Random) -> str:
    """Change an entry of the configuration or the classes, which are JSON within the header."""
    metadata = header["__metadata__"]
    inner = sorted(key for key in ("config", "classes") if key in metadata)
    if not inner:
        return ""
    key = chance.choice(inner)
    value = json.loads(metadata[key])
    told = _mutate_json(value, chance)
    metadata[key] = json.dumps(value)
    return f"{key} {told}"


def _mutate_bytes(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    kind = chance.choice(["flip", "cut", "insert", "zero", "empty", "number"])
    at = chance.randrange(len(content) + 1)
    # Most of a file is numbers; what is interesting stands at its beginning or end.
    near = chance.choice(["anywhere", "beginning", "end"])
    if near == "beginning":
        at = min(at, chance.randrange(200))
    elif near == "end":
        at = max(at, len(content) - chance.randrange(1, 200), 0)
    if kind == "flip" and content:
        at = min(at, len(content) - 1)
        flipped = content[at] ^ (1 << chance.randrange(8))
        return f"flip at {at}", content[:at] + bytes([flipped]) + content[at + 1 :]
    if kind == "cut":
        return f"cut at {at}", content[:at]
    if kind == "insert":
        return f"insert at {at}", content[:at] + chance.randbytes(8) + content[at:]
    if kind == "zero":
        zeros = bytes(len(content[at : at + 64]))
        return f"zeros at {at}", content[:at] + zeros + content[at + 64 :]
    if kind == "number":
        number = chance.choice([0xFFFFFFFF, 0x7FFFFFFF, 2**16, 0])
        order = chance.choice(["little", "big"])
        return f"{number} at {at}", content[:at] + number.to_bytes(4, order) + content[at + 4 :]
    return "empty", b""


if __name__ == "__main__":
    sys.exit(main())
