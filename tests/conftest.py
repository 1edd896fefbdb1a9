"""What many tests start from: a tiny packed data set, tiny configurations, a finished tiny run."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from sagan.config import Config, resolve
from sagan.data import PackedDataset, open_source, pack
from sagan.data.sources.openmoji import OpenMojiSource
from tests.warm import WarmProcess

NUM_CLASSES, PER_CLASS, SIDE = 3, 8, 32

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # of processors all claims here are; before torch looks

# Temporary files in memory, where there is room: every fsync is still called, but none waits.
MEMORY = Path("/dev/shm")
runs_programs = MEMORY.is_dir() and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC  # of tests
if runs_programs and shutil.disk_usage(MEMORY).free >= 8e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

NIGHTLY = os.environ.get("SAGAN_TESTS") == "nightly"

# How long an example takes says more about the machine and its other work than about the code.
settings.register_profile("any machine", deadline=None, max_examples=1000 if NIGHTLY else 100)
settings.load_profile("any machine")


# Most of the files that take longer than a quarter of a minute.
LONGEST = (
    "explorer/test_page.py",
    "explorer/test_folder.py",
    "command_line/test_study.py",
    "command_line/test_commands.py",
    "exporting/test_shipped.py",
    "training/test_fuzz.py",
    "training/test_compiling.py",
    "training/test_distributed.py",
    "training/test_loop.py",
    "training/test_chaos.py",
    "training/test_faults.py",
    "training/test_transfer.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Test the longest files first: at the end, one process would wait for the other's last one."""
    longest = {Path(__file__).parent / name for name in LONGEST}
    assert all(path.is_file() for path in longest)
    items.sort(key=lambda item: item.path not in longest)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in red, where nobody overlooks it, that the tests of the page did not run."""
    skipped = terminalreporter.stats.get("skipped", [])
    untested = [report for report in skipped if "no Chromium" in str(report.longrepr)]
    if untested:
        line = f"tests of the page that DID NOT RUN for lack of Chromium: {len(untested)}"
        terminalreporter.write_line(line, red=True, bold=True)


# Small enough that a step takes hundredths of a second, large enough to have attention.
TINY: dict[str, Any] = {
    "channels_g": 8,
    "channels_d": 8,
    "latent_size": 8,
    "batch_size": 8,
    "precision": "float32",
    "checkpoint_every": 100,
    "sample_every": 100,
    "log_every": 100,
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """On tensors this small threads mostly wait for each other, and processes here have one."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def nightly() -> bool:
    """Whether tests may take minutes: more random cases, larger networks."""
    return NIGHTLY


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Tests draw the same numbers in any order, and leave torch's random state as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """What a test sets in the environment, the code it calls included, ends with the test."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True, scope="session")
def _heard_ctrl_c() -> None:
    """Ctrl-C interrupts, also if the tests run in the background of a script, which ignores it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def fatal_hangup() -> Iterator[None]:
    """A hangup ends processes, as in a terminal; under nohup, they would ignore it."""
    if not hasattr(signal, "SIGHUP"):
        pytest.skip("Windows does not have this signal")
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def few_emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 75th of the built-in emoji only: drawing all takes seconds."""
    find = OpenMojiSource.__init__

    def find_few(source: OpenMojiSource, *arguments: str) -> None:
        find(source, *arguments)
        source._files = source._files[::75]

    monkeypatch.setattr(OpenMojiSource, "__init__", find_few)


@pytest.fixture(scope="session")
def picture_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PNGs of noise, so that each can be told from all others, in one folder for each class."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for label in range(NUM_CLASSES):
        (root / f"class{label}").mkdir()
        # Unequal classes: a wrong share of labels would show.
        for i in range(PER_CLASS - 2 * label):
            noise = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / f"class{label}" / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def labeled(picture_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    """18 pictures of 32 x 32 in 3 classes of 8, 6 and 4."""
    return pack(
        open_source(str(picture_folders)), tmp_path_factory.mktemp("packed") / "labeled", SIDE
    )


@pytest.fixture(scope="session")
def unlabeled(picture_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    """8 pictures of 32 x 32, without labels."""
    out = tmp_path_factory.mktemp("packed") / "unlabeled"
    return pack(open_source(str(picture_folders / "class0")), out, SIDE)


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Config]:
    """tiny_config(key=value, ...): the smoke preset made smaller, with these settings changed."""

    def make(**settings: Any) -> Config:
        return resolve("smoke", TINY | settings)

    return make


@pytest.fixture(scope="session")
def start_training() -> Callable[..., Any]:
    """start_training(dataset, key=value, ...): a Training at step 0, in one process."""
    from sagan.run.directory import RunDescription
    from sagan.runtime.processes import make_accelerator
    from sagan.training.state import Training

    def start(dataset: PackedDataset, **settings: Any) -> Training:
        settings = {"conditional": dataset.labels is not None} | settings
        config = resolve("smoke", TINY | settings)
        data = {"fingerprint": dataset.fingerprint, "classes": list(dataset.classes)}
        return Training(RunDescription(config, "smoke", data), dataset, make_accelerator())

    return start


@pytest.fixture(scope="session")
def train_run() -> Callable[..., Path]:
    """train_run(run, dataset, key=value, ...): the command `sagan train`, without its display."""
    from sagan.training.loop import train
    from sagan.training.recorder import Reporter
    from sagan.training.session import prepare_session

    class Silent(Reporter):
        pass

    def run_it(
        run: Path,
        dataset: PackedDataset,
        *,
        reporter: Reporter | None = None,
        **settings: Any,
    ) -> Path:
        session = prepare_session(
            str(dataset.path), run, "smoke", TINY | settings, notify=lambda _: None
        )
        assert session.run.path == run
        train(session, reporter or Silent())
        return run

    return run_it


@pytest.fixture(scope="session")
def bad_images() -> dict[str, tuple[bytes, str]]:
    """Files that are called pictures and cannot be used: {name: (bytes, reason)}."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return {
        "empty.png": (b"", "empty file"),
        "truncated.jpg": (encoded(noise, "JPEG")[:-900], "truncated"),
        "text.png": (b"just a text\n" * 9, "not a picture in a known format"),
        # a few kilobytes that would take a gigabyte
        "bomb.png": (encoded(np.zeros((20_000, 20_000), bool)), "more than 89,478,485 pixels"),
        "half-a-header.png": (encoded(noise)[:20], "Truncated File Read"),
    }


def encoded(pixels: np.ndarray, format_: str = "PNG") -> bytes:
    """A picture file's bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format_)
    return file.getvalue()


@pytest.fixture(autouse=True, scope="session")
def _small_figures() -> Iterator[None]:
    """Runs draw attention on one image instead of four: figures take longer than tiny trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sagan.training.images.MAX_FIGURE_IMAGES", 1)
        yield


@pytest.fixture(autouse=True, scope="session")
def _few_images_measured() -> Iterator[None]:
    """Runs record the attention of two images instead of 16, which takes as long as some steps."""
    from sagan.training import measurements

    def measure(*arguments: Any) -> dict[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(measurements, "MEASURED_IMAGES", 2)
            return measurements.measure_attention(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sagan.training.recorder.measure_attention", measure)
        yield


@pytest.fixture
def no_images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs draw no sample grids and attention figures, which take longer than a tiny training."""
    monkeypatch.setattr("sagan.training.recorder.draw_images", lambda *_: None)
    return


@pytest.fixture(scope="session")
def finished_run(
    labeled: PackedDataset,
    train_run: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A conditional run of 6 steps, pictures and all. Read it; copy it before you change it."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    settings = {"steps": 6, "checkpoint_every": 2, "log_every": 2, "sample_every": 3}
    return train_run(run, labeled, ema_half_life=20, **settings)


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines that the command line prints for errors."""
        return [line for line in self.err.splitlines() if line.startswith("sagan: ")]


Process = WarmProcess | subprocess.Popen[str]


@pytest.fixture(scope="session")
def start_python(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Process]]:
    """start_python(arguments, env): a Python process.

    It has imported torch and much of this package already, where processes can be forked safely.
    """
    started: list[Process] = []

    def start(arguments: list[object], env: Mapping[str, str] = os.environ) -> Process:
        words = list(map(str, arguments))
        if sys.platform == "linux":
            started.append(WarmProcess(words, env, tmp_path_factory.mktemp("process")))
        else:
            pipe, command = subprocess.PIPE, [sys.executable, *words]
            started.append(subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def start_processes(
    start_python: Callable[..., Process], tmp_path: Path
) -> Iterator[Callable[..., list[Process]]]:
    """start_processes(commands, KEY=value, ...): one Python process each, numbered as by mpirun."""
    started: list[Process] = []

    def start(commands: list[list[str]], **variables: str) -> list[Process]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        inherited = {key: value for key, value in os.environ.items() if "ACCELERATE" not in key}
        number = str(len(commands))
        for rank, command in enumerate(commands):
            numbered = {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": number,
                "LOCAL_WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                "GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo",
                "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "huggingface"),
                "SAGAN_CACHE": str(tmp_path / "cache"),
            }  # fmt: skip
            started.append(start_python(command, inherited | numbered | variables))
        return started[-len(commands) :]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def end_of() -> Callable[[Process], Ended]:
    """end_of(process): how it ends, within a minute."""

    def wait(process: Process) -> Ended:
        out, err = process.communicate(timeout=60)
        assert process.returncode is not None
        return Ended(process.returncode, out, err)

    return wait
