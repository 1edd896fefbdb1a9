"""One small set, packed in one piece and in shards, and a server to read the shards from."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.data import PackedDataset, open_source, pack

NUM, SIDE, PER_SHARD = 45, 4, 7
IMAGE_BYTES = SIDE * SIDE * 3


@dataclass(frozen=True)
class Packed:
    """The same images in one piece, and in 7 shards, the last of which has 3 images."""

    one: PackedDataset
    many: PackedDataset


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    root = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (root / "set" / name).mkdir(parents=True)
        for n in range(NUM // 3):
            noise = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / "set" / name / f"{n:02}.png")
    source = open_source(str(root / "set"))
    one = pack(source, root / "one", SIDE)
    return Packed(one, pack(source, root / "many", SIDE, shard_bytes=PER_SHARD * IMAGE_BYTES))


@dataclass
class Server:
    """Serves the files of a folder.

    Attributes:
        url: of the folder.
        asked: the names of the files that were asked for, in order.
        change: what becomes of a file's content, by its name and how often it was asked for.
    """

    url: str
    asked: list[str] = field(default_factory=list)
    change: Callable[[str, int, bytes], bytes] = lambda name, time, content: content


Serve = Callable[..., Server]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """serve(folder): start a server on 127.0.0.1 in a thread of its own."""
    monkeypatch.setenv("no_proxy", "*")
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> Server:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/set/")
                state.asked.append(name)
                if not (folder / name).is_file():
                    self.send_error(404)
                    return
                content = (folder / name).read_bytes()
                content = state.change(name, state.asked.count(name), content)
                self.send_response(200)
                self.end_headers()  # without a length: the end of the connection ends the file
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        state = Server(f"http://127.0.0.1:{server.server_port}/set")
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        return state

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
