"""Feed mutated files to every loader: each must load or be refused in one line, without harm.

    python scripts/fuzz.py --files 10000
    python scripts/fuzz.py --files 500 --kind model --kind cifar --seed 7

Takes sound model files, run directories, packed sets and images in every kind of container,
changes bytes, lengths, JSON values and names at random, and opens them. Any outcome other than
success or the package's own error is a failure; so are two minutes without an answer, memory above
1 GB, and opening any file for writing, or a file that only a mutation names, outside the target
folder.
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
from mutations import ELSEWHERE, mutate
from PIL import Image

from sagan.data import PackedDataset, describe, open_source, pack, workers
from sagan.errors import SaganError
from sagan.model import export_model, open_model
from sagan.run import directory
from sagan.run.checkpoint import latest_checkpoint
from sagan.run.stats import read_records
from sagan.runtime.processes import make_accelerator
from sagan.training.loop import train
from sagan.training.recorder import Reporter
from sagan.training.session import prepare_session
from sagan.training.state import Training

SETTINGS: dict[str, Any] = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 4, "steps": 1,
}  # fmt: skip
GIGABYTE = 2**30 if sys.platform == "darwin" else 2**20  # in the units of ru_maxrss
SECONDS = 120  # for one file, on a machine that may be busy

Load = Callable[[Path], object]
Target = tuple[Path, Load]  # sound files, and the function that opens them or a mutation


class Silent(Reporter):
    """Shows nothing."""


class Audit:
    """Sees every file that Python opens for writing, makes, renames or removes, and commands run.

    Args:
        allowed: the folder in which files may be changed.

    Attributes:
        trespasses: what was done elsewhere while the audit was on.
    """

    # By event, how many arguments precede those that may be descriptors of open folders.
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
        """Audit within the context."""
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
            if isinstance(path, int):  # a descriptor: its file was seen when it was opened
                return False
            changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            return str(path) == ELSEWHERE or (bool(changes) and not self._is_allowed(path))
        if event in self.NAMES:
            # Paths relative to an open folder are allowed: the folder was seen when it was opened.
            paths = [path for path in arguments if isinstance(path, (str, bytes, os.PathLike))]
            places = arguments[self.NAMES[event] :]
            folders = [number for number in places if isinstance(number, int) and number > 2]
            return not (folders or all(map(self._is_allowed, paths)))
        return event in self.NEVER

    def _is_allowed(self, path: Any) -> bool:
        whole = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 -- does not resolve links
        return whole.is_relative_to(self.allowed)


def main() -> int:
    """Open the mutations; the first that is mishandled raises an error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", help="kind of target; by default all")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # going back to an earlier checkpoint is correct, too
    datasets.disable_progress_bars()
    workers.available_cores = lambda: 1  # decode images in this process, which is audited
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        datasets.config.HF_DATASETS_CACHE = folder / "victim" / "cache"
        targets = sound_targets(folder / "sound")
        kinds = arguments.kind or sorted(targets)
        chosen = {kind: targets[kind] for kind in kinds}
        run_files(folder, chosen, arguments.files, random.Random(arguments.seed))
    return 0


def run_files(folder: Path, targets: dict[str, Target], num: int, rng: random.Random) -> None:
    """Open `num` mutations of sound files.

    Raises:
        AssertionError: one was mishandled, or took too much memory.
    """
    place = folder / "victim"
    audit = Audit(place)
    for kind, (source, load) in targets.items():
        _open(source, load, audit, f"{kind}, as it is", lambda path: "nothing")
    before, peak = _content(folder / "sound"), _memory()
    opened: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for i in range(num):
        kind = rng.choice(sorted(targets))
        error = _open(*targets[kind], audit, f"{kind}, number {i}", lambda path: mutate(path, rng))
        opened[kind] += 1
        refused[kind] += bool(error)
        grown = _memory() - peak
        assert grown < GIGABYTE, f"{kind}, number {i}: memory grew by {grown >> 10} MB"
        if i % 1000 == 999:
            print(f"{i + 1} files, memory at most {_memory() >> 10} MB", flush=True)
    assert _content(folder / "sound") == before
    for kind in sorted(opened):
        print(f"{kind}: {opened[kind]} files, {refused[kind]} refused, the others loaded")
    print(f"{num} files: {sum(refused.values())} refused in one line, the others loaded; "
          f"memory at most {_memory() >> 10} MB, {peak >> 10} MB before")  # fmt: skip


def _open(source: Path, load: Load, audit: Audit, what: str, change: Callable[[Path], str]) -> str:
    """Return the one line that a changed copy was refused with; empty if it loaded."""
    victim = audit.allowed / source.name
    _copy(source, victim)
    changed, message = change(victim), ""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        with audit.on():
            load(victim)
    except SaganError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{what}, {changed}: {error!r}") from error
    faulthandler.cancel_dump_traceback_later()
    shutil.rmtree(audit.allowed)
    assert changed != "nothing" or not message, f"{what}: {message}"
    assert len(message.splitlines()) <= 1, f"{what}, {changed}: more than a line: {message}"
    assert not audit.trespasses, f"{what}, {changed}: {audit.trespasses}"
    return message


def _memory() -> int:
    """Return the largest memory of this process or one of its children so far, in kilobytes."""
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
    """Return sound files by kind, each with the function that opens it."""
    folder.mkdir()
    return _model_targets(folder) | _source_targets(folder)


def _model_targets(folder: Path) -> dict[str, Target]:
    packed = pack(open_source(str(_folder_of_images(folder))), folder / "packed", 32)
    session = prepare_session(
        str(packed.path), folder / "run", "smoke", SETTINGS, lambda line: None
    )
    train(session, Silent())
    export_model(open_model(folder / "run"), folder / "model.safetensors", card="# Card")

    def resume(run: Path) -> None:
        again = prepare_session(str(packed.path), run, None, SETTINGS, lambda line: None)
        training = Training(again.description, packed, make_accelerator())
        begun = latest_checkpoint(run)
        if begun is not None:
            training.restore(begun)
        read_records(run)
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
        "folder": folder / "images",
        "zip": _zip(folder / "x.zip"),
        "cifar": _cifar(folder / "cifar"),
        "cifar archive": _cifar_archive(folder / "cifar", folder / "cifar.tar.gz"),
        "parquet": _parquet(folder / "x.parquet"),
        "tar": _tar(folder / "x.tar"),
    }
    return {kind: (path, _pack_and_describe) for kind, path in made.items()}


def _pack_and_describe(path: Path) -> None:
    pack(open_source(str(path)), path.parent / "packed", 32)
    describe(str(path))


def _image(number: int, ending: str) -> bytes:
    """Return an image of noise as a file's bytes."""
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, ending)
    return file.getvalue()


ENDINGS = ("png", "jpeg", "webp", "gif", "bmp", "tiff")


def _folder_of_images(folder: Path) -> Path:
    for i in range(12):
        path = folder / "images" / "ab"[i % 2] / f"{i}.{ENDINGS[i % len(ENDINGS)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_image(i, ENDINGS[i % len(ENDINGS)]))
    return folder / "images"


def _zip(path: Path) -> Path:
    labels = [[f"{i}.png", i % 2] for i in range(6)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(6):
            archive.writestr(f"{i}.png", _image(i, "png"))
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
    images = [{"bytes": _image(i, "png"), "path": f"{i}.png"} for i in range(6)]
    rows = [{"image": image, "label": i % 2} for i, image in enumerate(images)]
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    datasets.Dataset.from_list(rows, datasets.Features(kinds)).to_parquet(str(path))
    return path


def _tar(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for i in range(6):
            for ending, content in (("png", _image(i, "png")), ("cls", b"01"[i % 2 : i % 2 + 1])):
                member = tarfile.TarInfo(f"{i}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


if __name__ == "__main__":
    sys.exit(main())
