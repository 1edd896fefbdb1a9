"""hf:NAME without a network, and with a hub that the test runs."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import datasets
import pytest
from PIL import Image

from sagan.data.sources.hub import _parse, open_hub
from sagan.errors import SaganError

SHA = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/shades"


def sagan(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own: the hub's address is read when it is imported."""
    inherited = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    return subprocess.run(
        [sys.executable, "-m", "sagan", *map(str, arguments)],
        env={**inherited, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"HF_ENDPOINT": "http://127.0.0.1:9"},  # nobody answers there
        {"HF_ENDPOINT": "http://no-such-host.invalid"},
        {"HF_HUB_OFFLINE": "1"},
    ],
)
def test_without_a_network_one_line_says_so_within_seconds(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    begun = time.monotonic()
    result = sagan("data", "pack", "hf:cifar10", tmp_path / "out", "--size", 8, **environment)
    assert time.monotonic() - begun < 15  # of which importing `datasets` takes most
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("sagan: 'hf:cifar10' needs the Hugging Face hub, which does not answer")
    assert list(tmp_path.iterdir()) == []


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as streaming one repository of files takes."""

    files: dict[str, bytes]
    timeout = 5

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        api = f"/api/datasets/{NAME}"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{SHA}"):
            siblings = [{"rfilename": name} for name in self.files]
            self._json({"id": NAME, "sha": SHA, "siblings": siblings, "tags": []})
        elif path.startswith(f"{api}/tree/{SHA}"):
            below = path.removeprefix(f"{api}/tree/{SHA}").strip("/")
            self._json([entry for entry in self._entries() if entry["path"].startswith(below)])
        elif path.startswith(f"/datasets/{NAME}/resolve/{SHA}/"):
            self._file(path.removeprefix(f"/datasets/{NAME}/resolve/{SHA}/"))
        else:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"]
        asked = [asked] if isinstance(asked, str) else asked
        self._json([entry for entry in self._entries() if entry["path"] in asked])

    def _entries(self) -> list[dict[str, object]]:
        files = [
            {"type": "file", "path": name, "size": len(data), "oid": f"{n:040}"}
            for n, (name, data) in enumerate(self.files.items())
        ]
        return [*files, {"type": "directory", "path": "data", "oid": "f" * 40}]

    def _file(self, name: str) -> None:
        if name not in self.files:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        data = self.files[name]
        start, end = 0, len(data)
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else len(data), len(data))
        headers = {
            "ETag": f'"{name}"', "X-Repo-Commit": SHA, "Accept-Ranges": "bytes",
            "Content-Range": f"bytes {start}-{end - 1}/{len(data)}",
        }  # fmt: skip
        self._send(data[start:end], 206 if wanted else 200, headers)

    def _json(self, content: object, status: int = 200, headers: dict[str, str] = {}) -> None:  # noqa: B006
        self._send(json.dumps(content).encode(), status, headers)

    def _send(self, body: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def shades(first: int, num: int, path: Path) -> bytes:
    def png(shade: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (shade, shade, shade)).save(file, "PNG")
        return file.getvalue()

    content = {
        "img": [{"bytes": png(first + n), "path": None} for n in range(num)],
        "fine_label": [n % 2 for n in range(num)],
    }
    features = {"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=["even", "odd"])}
    datasets.Dataset.from_dict(content, features=datasets.Features(features)).to_parquet(str(path))
    return path.read_bytes()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    Hub.files = {
        "data/train-00000-of-00002.parquet": shades(0, 6, tmp_path / "1"),
        "data/train-00001-of-00002.parquet": shades(6, 4, tmp_path / "2"),
        "data/test-00000-of-00001.parquet": shades(100, 3, tmp_path / "3"),
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_data_set_on_the_hub_is_streamed_and_packed(hub: str, tmp_path: Path) -> None:
    from sagan.data import PackedDataset

    environment = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}

    def packed(source: str, name: str, *more: str) -> PackedDataset:
        arguments = ["data", "pack", source, tmp_path / name, "--size", 4, *more]
        result = sagan(*arguments, **environment)
        assert (result.returncode, result.stderr) == (0, "")
        return PackedDataset.open(tmp_path / name)

    train = packed(f"hf:{NAME}", "train")
    assert train.images[:, 0, 0, 0].tolist() == list(range(10))
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert (train.classes, train.source) == (("even", "odd"), f"hf:{NAME}")
    assert packed(f"hf:{NAME}:test", "test").images[:, 0, 0, 0].tolist() == [100, 101, 102]
    # Streamed: nothing of the set stays on the disk.
    kept = [file for file in (tmp_path / "home").rglob("*.parquet") if file.is_file()]
    assert kept == []


def test_a_name_that_the_hub_does_not_know_is_an_error_in_one_line(
    hub: str, tmp_path: Path
) -> None:
    environment = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"}
    result = sagan("data", "info", "hf:someone/else", **environment)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "cannot get the data set 'someone/else' from the hub" in line


@pytest.mark.parametrize("fails", ["asking", "loading"])
def test_messages_of_the_hub_are_shown_without_tokens_and_passwords(
    fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("https://me:secret@hub.test refused hf_AbCdEf and plain-token")

    def answer(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(sha=SHA)

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "plain-token")
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", fail if fails == "asking" else answer)
    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(SaganError) as error:
        open_hub(f"hf:{NAME}", "train")
    assert "https://***@hub.test refused hf_*** and ***" in str(error.value)


def test_a_name_says_set_configuration_and_split() -> None:
    assert _parse("hf:a/b", "train") == ("a/b", None, "train")
    assert _parse("hf:a/b", "test") == ("a/b", None, "test")
    assert _parse("hf:a/b:test", "train") == ("a/b", None, "test")
    assert _parse("hf:a/b:full:test", "test") == ("a/b", "full", "test")
    for source in ("hf:", "hf:a:", "hf::b", "hf:a:b:c:d"):
        with pytest.raises(SaganError, match="hf:NAME"):
            _parse(source, "train")
    with pytest.raises(SaganError, match="'test', but --split says 'val'"):
        _parse("hf:a:test", "val")
