"""The command line, run in this process with the results that a shell would see."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from sagan import cli
from sagan.display import PlainReporter
from sagan.training.loop import train
from sagan.training.session import prepare_session


@dataclass(frozen=True)
class Result:
    """A command's exit status, standard output and standard error."""

    status: int
    out: str
    err: str


Sagan = Callable[..., Result]


@pytest.fixture
def sagan(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sagan:
    """Calls `sagan ARGUMENTS`."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["sagan", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capfd.readouterr()
        return Result(status, captured.out, captured.err)

    return call


def _write_pictures(folder: Path, num: int, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(num):
        pixels = rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Packed sets go to a folder of the tests instead of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures without labels."""
    folder = tmp_path_factory.mktemp("data") / "plain"
    _write_pictures(folder, 12, seed=0)
    return folder


@pytest.fixture(scope="session")
def labeled_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one folder for each of two classes."""
    folder = tmp_path_factory.mktemp("data") / "labeled"
    _write_pictures(folder / "cat", 6, seed=1)
    _write_pictures(folder / "dog", 8, seed=2)
    return folder


@pytest.fixture(scope="session")
def splits(tmp_path_factory: pytest.TempPathFactory, labeled_pictures: Path) -> Path:
    """The training pictures of the conditional run, and others, as two splits."""
    root = tmp_path_factory.mktemp("splits")
    for name in ("cat", "dog"):
        for split in ("train", "test"):
            (root / split / name).mkdir(parents=True)
        for i, file in enumerate(sorted((labeled_pictures / name).iterdir())):
            (root / "train" / name / file.name).write_bytes(file.read_bytes())
            with Image.open(file) as picture:
                flipped = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
            flipped.save(root / "test" / name / f"{i}.png")
    return root


def _trained(source: Path, run: Path) -> Path:
    session = prepare_session(
        str(source), run, "smoke", {"steps": 2, "channels_g": 8}, lambda line: None
    )
    reporter = PlainReporter(Console(quiet=True))
    train(session, reporter)
    return run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A finished unconditional run."""
    return _trained(pictures, tmp_path_factory.mktemp("runs") / "plain")


@pytest.fixture(scope="session")
def labeled_run(tmp_path_factory: pytest.TempPathFactory, labeled_pictures: Path) -> Path:
    """A finished conditional run with the classes cat and dog."""
    return _trained(labeled_pictures, tmp_path_factory.mktemp("runs") / "labeled")
