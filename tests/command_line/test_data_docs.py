"""Every command in docs/data.md runs as it is written there."""

import io
import shlex
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"


FEWER = {"@1000": "@60", "@5000": "@60"}  # avatars, of which a thousand take seconds to draw


def commands() -> list[str]:
    """The lines of code blocks that are commands, with fewer avatars."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for number, fewer in FEWER.items():
        assert number in text
        text = text.replace(number, fewer)
    return [line for line in text.splitlines() if line.startswith("sagan ")]


def png(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the sources that the document uses."""
    monkeypatch.chdir(tmp_path)
    for n in range(12):
        (tmp_path / "photos" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / "ab"[n % 2] / f"{n}.png").write_bytes(png(n))
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for n in range(4):
            archive.writestr(f"{['train', 'test'][n % 2]}/{n}.png", png(n))
    pq.write_table(pa.table({"image": [png(0), png(1)], "label": [0, 1]}), "photos.parquet")
    with tarfile.open("shards.tar", "w") as archive:
        for n in range(4):
            for name, data in ((f"{n}.png", png(n)), (f"{n}.cls", b"%d" % (n % 2))):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))


@pytest.mark.usefixtures("here", "few_emoji")
def test_every_command_in_the_document_runs(sagan) -> None:
    assert len(commands()) > 6
    for command in commands():
        result = sagan(*shlex.split(command, comments=True)[1:])
        assert (result.status, result.err) == (0, ""), command
