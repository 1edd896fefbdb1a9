"""The commands that are given hostile files, each as a user would type it."""

import gc
import platform
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzzing.sound import make_studies_quick

MODEL = ("run", "model.safetensors")
SOURCES = ("images", "x.zip", "cifar", "cifar.tar.gz", "x.parquet", "x.tar")


@dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
        name: of its row in the table.
        targets: the sound files that it can be given.
        words: its words; VICTIM, OUT (an empty folder) and SOUND (sound files) are replaced.
        weight: how often it is chosen, relative to others.
        follows: whether it may follow links to where they lead: those that the user names, and
            those in folders of images.
    """

    name: str
    targets: tuple[str, ...]
    words: str
    weight: float = 1.0
    follows: bool = False

    def line(self, victim: Path, out: Path, sound: Path) -> list[str]:
        """Return its words for these files."""
        places = {"VICTIM": victim, "OUT": out, "SOUND": sound}
        words = self.words.split()
        for name, path in places.items():
            words = [word.replace(name, str(path)) for word in words]
        return words


TRAIN = "train --data SOUND/packed --out VICTIM --steps"
TINY = "--preset smoke --set channels_g=8 --set channels_d=8 --set batch_size=4"
STUDY = "study attention --data SOUND/packed --out VICTIM --preset smoke --steps 5"
VARIANTS = "--variants none,attention-16"
COMMANDS = (
    Command("train, resumed", ("run",), f"{TRAIN} 4", 0.7),
    Command("train --dry-run", ("run",), f"{TRAIN} 4 --dry-run", 0.7),
    Command("train --data", ("packed",),
            f"train --data VICTIM --out OUT/run --dry-run {TINY}", 1.5),
    Command("train --out", ("samples",), f"{TRAIN} 1 --dry-run {TINY}", 0.3),
    Command("inspect", MODEL, "inspect VICTIM", 3),
    Command("inspect CHECKPOINT", ("run",), "inspect VICTIM/checkpoints/step-00000002", 1),
    Command("export", MODEL, "export VICTIM OUT/x.safetensors", 2),
    Command("import", ("weights.pth",), "import VICTIM OUT/x.safetensors", 1),
    Command("export --card", ("card.md",), "export SOUND/run OUT/x.safetensors --card VICTIM", 0.3),
    Command("sample", MODEL, "sample VICTIM --out OUT/x.png --num 2", 2),
    Command("sample --out FOLDER", ("samples",), "sample SOUND/run --out VICTIM --num 2", 0.5),
    Command("sample .zip", MODEL, "sample VICTIM --out OUT/x.zip --num 2", 0.5),
    Command("sample .gif", MODEL, "sample VICTIM --out OUT/x.gif --interpolate 2", 0.5),
    Command("explain", MODEL, "explain VICTIM --out OUT/x.png --num 1 --query 3,4", 0.7),
    Command("explain --html", MODEL, "explain VICTIM --html OUT/x.html --num 1", 1.5),
    Command("explain --image", ("photo.png", "photo.webp"),
            "explain SOUND/run --html OUT/x.html --image VICTIM", 1),
    Command("explore", MODEL, "explore VICTIM --port 0 --no-open", 4),
    Command("report", ("run",), "report VICTIM --out OUT/x.html", 1),
    Command("evaluate", (*MODEL, "packed"), "evaluate", 0.4),  # see `line_for`
    Command("evaluate --compare", ("evaluations",),
            "evaluate --compare VICTIM/a.json VICTIM/b.json", 1, follows=True),
    Command("study", ("study",), f"{STUDY} --seeds 2 {VARIANTS}", 2),
    Command("study --dry-run", ("study",), f"{STUDY} --seeds 2 {VARIANTS} --dry-run", 1),
    Command("data info", ("packed",), "data info VICTIM", 1),
    Command("data info, images", SOURCES, "data info VICTIM", 1, follows=True),
    Command("data pack, images", SOURCES, "data pack VICTIM OUT/packed --size 32", 1.5,
            follows=True),
    Command("data pack OUT", ("packed", "samples"), "data pack SOUND/images VICTIM --size 32", 1),
)  # fmt: skip


def line_for(command: Command, victim: Path, out: Path, sound: Path) -> list[str]:
    """Return a command's words; `evaluate` takes either a hostile model or hostile data."""
    if command.name != "evaluate":
        return command.line(victim, out, sound)
    model, data = (sound / "run", victim) if victim.name == "packed" else (victim, sound / "packed")
    rest = ["--data", str(data), "--num", "8", "--metrics", "precision", "--json", f"{out}/x.json"]
    return ["evaluate", str(model), *rest]


def choose(rng: random.Random, commands: tuple[Command, ...]) -> tuple[Command, str]:
    """Return a command and the sound file to change for it."""
    (command,) = rng.choices(commands, [command.weight for command in commands])
    return command, rng.choice(command.targets)


def preload() -> None:
    """Import what the commands import, so that each case starts with it."""
    import datasets
    import matplotlib.pyplot  # noqa: F401
    import torch
    from starlette.testclient import TestClient  # noqa: F401

    import sagan.cli
    import sagan.data
    import sagan.demo
    import sagan.explain.draw
    import sagan.explorer.app
    import sagan.explorer.export
    import sagan.metrics.command
    import sagan.metrics.comparison
    import sagan.metrics.evaluation
    import sagan.report
    import sagan.studies.engine
    import sagan.training.loop  # noqa: F401
    from sagan.data import workers

    datasets.disable_progress_bars()
    workers.available_cores = lambda: 1  # decode images in this process, which is audited
    torch.set_num_threads(1)
    platform.processor()  # asks a program once
    gc.freeze()  # or each case's garbage collections would copy what was imported


def run(words: list[str], out: Path, seed: int) -> None:
    """Run a command in this process; it raises SystemExit as the command line does."""
    import datasets

    from sagan.cli import main
    from sagan.explorer import app

    datasets.config.HF_DATASETS_CACHE = out / "cache"

    def answer(self: Any, sockets: Any = None) -> None:
        _visit(self.config.app, out, random.Random(seed))

    make_studies_quick()
    app._PromptServer.run = answer
    sys.argv = ["sagan", *words]
    main()
    sys.exit(0)


def _visit(app: Any, out: Path, rng: random.Random) -> None:
    """Ask the server of `sagan explore` for everything it has, and for what it has not."""
    from starlette.testclient import TestClient

    client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    with client:
        asked = [
            "/", "/api/gallery", f"/api/gallery?seed={rng.choice([5, -1, 2**70, 'x'])}",
            f"/api/sample?index={rng.choice([0, 23, 24])}&toward=7&blend=3&gamma={rng.random()}",
            f"/api/sample?label={rng.choice([0, 1, 2, 2**31])}", "/api/run/history",
            f"/api/sample?moves={rng.choice([0, 5, 'x'])}&moves={rng.random()}",
            f"/api/run/attention/{rng.choice([1, 3, 0, 10**13, '..%2f..', 'x'])}",
            "/api/run/history", f"/api/run/grids/{rng.choice([1, 3, 0, 10**13, '..%2f..', 'x'])}",
            f"/static/{rng.choice(['page.css', '../app.py', '%2e%2e/app.py', '/etc/passwd'])}",
        ]  # fmt: skip
        responses = [client.get(path) for path in asked]
        if rng.random() < 0.2:  # starts another Python, which takes long
            upload = rng.choice(
                [b"", rng.randbytes(1000), b"\x89PNG\r\n\x1a\n" + rng.randbytes(99)]
            )
            responses.append(client.post("/api/image", content=upload))
    for response in responses:
        answers_it = response.status_code in (200, 304, 400, 403, 404, 405, 413, 415, 422, 429, 503)
        short = response.status_code == 200 or len(response.content) < 2000
        if not (answers_it and short):
            print(f"Traceback? {response.url}: {response.status_code}: {response.text[:2000]}")
    with (out / "answers").open("wb") as answers:
        answers.writelines(response.content for response in responses)
