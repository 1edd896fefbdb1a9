"""Sound files of every kind that a command takes, from which hostile ones are made."""

import io
import json
import pickle
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 32
SETTINGS: dict[str, Any] = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 4, "steps": 3,
    "checkpoint_every": 1, "sample_every": 1, "log_every": 1, "precision": "float32",
}  # fmt: skip
ENDINGS = ("png", "jpeg", "webp", "gif", "bmp", "tiff")


def build(folder: Path) -> None:
    """Write all sound files into a new folder, each kind under a name of its own."""
    folder.mkdir()
    _folder_of_images(folder)
    _models(folder)
    _study(folder)
    _evaluations(folder)
    _zip(folder / "x.zip")
    _cifar(folder / "cifar")
    _cifar_archive(folder / "cifar", folder / "cifar.tar.gz")
    _parquet(folder / "x.parquet")
    _tar(folder / "x.tar")
    _weights(folder / "weights.pth")
    (folder / "photo.png").write_bytes(_image(0, "png"))
    (folder / "photo.webp").write_bytes(_image(0, "webp"))
    (folder / "card.md").write_text("# Card\n")
    (folder / "samples").mkdir()


def _models(folder: Path) -> None:
    """Write a packed set, a run on it and a model file."""
    from sagan.data import open_source, pack
    from sagan.model import export_model, open_model
    from sagan.storage.files import write_json
    from sagan.training import images
    from sagan.training.loop import train
    from sagan.training.recorder import Reporter
    from sagan.training.session import prepare_session

    class Silent(Reporter):
        pass

    packed = pack(open_source(str(folder / "images")), folder / "packed", SIDE)
    run = folder / "run"
    images.MAX_FIGURE_IMAGES = 1  # figures take longer than this training
    session = prepare_session(str(packed.path), run, "smoke", SETTINGS, lambda line: None)
    train(session, Silent())
    write_json(run / "best.json", {"step": 3, "metric/KD": 1.0})
    shutil.copy(run / "samples" / "step-00000003.png", run / "attention" / "step-00000003.png")
    export_model(open_model(run), folder / "model.safetensors", card="# Card")


def make_studies_quick() -> None:
    """Let the runs of a study only make up numbers: a missing one would train for a minute."""
    from sagan.metrics.features.network import DEFAULT_DISTANCE
    from sagan.studies import engine
    from sagan.studies.definitions.attention import STUDY
    from sagan.studies.run import RunMetrics

    def perform(run: Any, data: Any, observer: Any) -> RunMetrics:
        numbers = {DEFAULT_DISTANCE: 1.0 + 0.1 * run.config.seed + 0.01 * len(run.name)}
        curves = {"loss": [(0, 1.0), (1, 2.0)]}
        return RunMetrics(numbers, curves, {"generator": 1}, step_seconds=0.5)

    engine.STUDIES[STUDY.name] = replace(
        STUDY, perform=perform, prepare=lambda data, progress: None
    )


def _study(folder: Path) -> None:
    """Write a study's folder, with made-up numbers and one real run."""
    from rich.console import Console

    from sagan.studies import engine
    from sagan.studies.definitions.attention import STUDY
    from sagan.studies.plan import StudyRequest

    make_studies_quick()
    request = StudyRequest(
        study=STUDY.name, data=str(folder / "packed"), out=folder / "study", preset="smoke",
        settings={}, variants=("none", "attention-16"), seeds=2, steps=5, budget_minutes=None,
        jobs=1,
    )  # fmt: skip
    engine.run_study(request, False, Console(quiet=True), lambda line: None)
    shutil.copytree(folder / "run", folder / "study" / "runs" / "none-seed0")


def _evaluations(folder: Path) -> None:
    """Write two evaluations of few samples."""
    from accelerate import PartialState

    from sagan.data import PackedDataset
    from sagan.metrics import evaluate
    from sagan.metrics.features.network import open_network
    from sagan.metrics.samples import SamplePlan
    from sagan.model import open_model
    from sagan.storage.files import write_json

    PartialState(cpu=True)
    reference = PackedDataset.open(folder / "packed")
    network = open_network("efficientnet-lite0", None)
    for name in ("a", "b"):
        document = evaluate(
            open_model(folder / "run"), reference, metrics=["precision"], network=network,
            plan=SamplePlan(12, 0, 1.0, "ema"),
        )  # fmt: skip
        write_json(folder / "evaluations" / f"{name}.json", document)


def _weights(path: Path) -> None:
    """Write a generator's checkpoint as another project does, with random weights."""
    import torch
    from safetensors.torch import load_file

    tests = Path(__file__).parents[2] / "tests"
    tensors = load_file(tests / "imports" / "golden" / "studiogan.safetensors")
    own = {name: tensor for name, tensor in tensors.items() if name.startswith("generator.")}
    torch.save({"step": 1, "state_dict": own}, path)


def _image(number: int, ending: str) -> bytes:
    """Return an image of noise as a file's bytes."""
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, ending)
    return file.getvalue()


def _folder_of_images(folder: Path) -> None:
    for i in range(12):
        path = folder / "images" / "ab"[i % 2] / f"{i}.{ENDINGS[i % len(ENDINGS)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_image(i, ENDINGS[i % len(ENDINGS)]))


def _zip(path: Path) -> None:
    labels = [[f"{i}.png", i % 2] for i in range(6)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(6):
            archive.writestr(f"{i}.png", _image(i, "png"))
        archive.writestr("dataset.json", json.dumps({"labels": labels}))


def _cifar(folder: Path) -> None:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    for name in ("train", "test"):
        content = {b"fine_labels": [0, 1, 0, 1], b"data": pixels}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": ["a", "b"]}, protocol=2))


def _cifar_archive(folder: Path, path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, f"cifar-100-python/{file.name}")


def _parquet(path: Path) -> None:
    import datasets

    images = [{"bytes": _image(i, "png"), "path": f"{i}.png"} for i in range(6)]
    rows = [{"image": image, "label": i % 2} for i, image in enumerate(images)]
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    datasets.Dataset.from_list(rows, datasets.Features(kinds)).to_parquet(str(path))


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for i in range(6):
            for ending, content in (("png", _image(i, "png")), ("cls", b"01"[i % 2 : i % 2 + 1])):
                member = tarfile.TarInfo(f"{i}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
