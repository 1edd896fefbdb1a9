"""A hub on 127.0.0.1 that answers what the hub's library asks, and a small model for it."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from huggingface_hub import constants

from sagan.build import build_networks
from sagan.config import resolve
from sagan.model import Model, open_model

TOKEN = "hf_" + "s3cr3t" * 5


@dataclass
class Repo:
    """A model on the hub: files by revision, "main" among them, and what the hub says of it."""

    revisions: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    private: bool = False
    error: tuple[int, str] | None = None  # status, and the hub's code for it

    def commit(self, revision: str) -> str:
        content = json.dumps(
            {name: hashlib.sha1(data).hexdigest() for name, data in self.at(revision).items()}
        )
        return hashlib.sha1(content.encode()).hexdigest()

    def at(self, revision: str) -> dict[str, bytes]:
        if revision in self.revisions:
            return self.revisions[revision]
        return next(
            files for name, files in self.revisions.items() if self.commit(name) == revision
        )


@dataclass
class Hub:
    """The server's state, and what it was asked."""

    url: str = ""
    token: str = TOKEN
    repos: dict[str, Repo] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)  # that replace those of files
    down: bool = False
    refuses: str = ""  # why it takes no pushes

    def add(self, name: str, **files: bytes) -> Repo:
        named = {key.replace("_", "."): content for key, content in files.items()}
        return self.repos.setdefault(name, Repo({"main": named}))


class Handler(BaseHTTPRequestHandler):
    """The routes that huggingface_hub calls to read a file and to push some."""

    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def handle_any(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        path = unquote(self.path).partition("?")[0]
        if path == "/api/agent-harnesses":  # for statistics; asked once a day
            self.answer(404, b"", {})
            return
        self.hub.requests.append(f"{self.command} {path}")
        if self.command != "PUT":  # the address of an upload is a secret of its own
            self.hub.tokens.add(self.headers.get("Authorization", ""))
        if self.hub.down:
            self.answer(503, b"", {})
        elif "/resolve/" in path:
            self.file(*path[1:].split("/resolve/"))
        elif self.command == "GET" and path.startswith("/api/models/"):
            name = path.removeprefix("/api/models/")
            if name in self.hub.repos:
                self.json({"id": name, "private": self.hub.repos[name].private})
            else:
                self.error(404, "RepoNotFound")
        elif self.command == "PUT":
            self.hub.uploads[path.rpartition("/")[2]] = body
            self.answer(200, b"", {})
        elif self.hub.refuses:
            # Some servers repeat what they were sent.
            said = f"{self.hub.refuses} {self.headers.get('Authorization')}"
            self.answer(403, said.encode(), {"X-Error-Message": said})
        else:
            self.post(path, body)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def file(self, name: str, rest: str) -> None:
        repo, (revision, _, filename) = self.hub.repos.get(name), rest.rpartition("/")
        if repo is None:
            return self.error(404, "RepoNotFound")
        if repo.error is not None:
            return self.error(*repo.error)
        try:
            files = repo.at(revision)
        except KeyError:
            return self.error(404, "RevisionNotFound")
        if filename not in files:
            return self.error(404, "EntryNotFound", repo.commit(revision))
        content = files[filename]
        headers = {
            "X-Repo-Commit": repo.commit(revision),
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Content-Length": str(len(content)),
        }
        return self.answer(200, content, headers | self.hub.headers)

    def error(self, status: int, code: str, commit: str = "0" * 40) -> None:
        self.answer(status, b"", {"X-Error-Code": code, "X-Repo-Commit": commit})

    def post(self, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            status = 409 if name in self.hub.repos else 200
            private = asked.get("visibility") == "private"
            self.hub.repos.setdefault(name, Repo(private=private))
            return self.json({"url": f"{self.hub.url}/{name}", "name": name}, status)
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if path.endswith("/preupload/main"):
            # The real hub's rule is of sizes and endings; here it is the ending alone.
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.json({"files": files})
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {
                    "oid": wanted["oid"],
                    "size": wanted["size"],
                    "actions": {"upload": {"href": f"{self.hub.url}/upload/{wanted['oid']}"}},
                }
                for wanted in json.loads(body)["objects"]
            ]
            return self.json({"transfer": "basic", "objects": objects})
        assert path.endswith("/commit/main"), path
        name = path.removeprefix("/api/models/").removesuffix("/commit/main")
        repo = self.hub.repos[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repo.revisions["main"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repo.revisions["main"][value["path"]] = self.hub.uploads[value["oid"]]
        commit = repo.commit("main")
        return self.json(
            {
                "success": True,
                "commitOid": commit,
                "commitUrl": f"{self.hub.url}/{name}/commit/{commit}",
            }
        )

    def json(self, value: Any, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of its own for each test, with an empty cache and a token."""
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", state.url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix("https://huggingface.co")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", state.url + template)
    harnesses = str(tmp_path / "harnesses")
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", harnesses, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small conditional model that was never trained."""
    config = resolve("smoke", {"channels_g": 8, "channels_d": 8, "conditional": True})
    networks = dict(zip(("ema", "discriminator"), build_networks(config, 3), strict=True))
    states = {name: dict(network.state_dict()) for name, network in networks.items()}
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    model = Model("", config, ("cat", "dog", "owl"), "crop", "", 6, "", states.__getitem__)
    path.write_bytes(model.to_bytes())
    return path


@pytest.fixture(scope="session")
def model(model_file: Path) -> Model:
    return open_model(model_file)


@pytest.fixture(scope="session")
def weights(model_file: Path) -> bytes:
    """The content of the model file."""
    return model_file.read_bytes()
