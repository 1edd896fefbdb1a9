"""The server behind the page: routes, and how it is started."""

import asyncio
import contextlib
import hashlib
import os
import platform
import socket
import webbrowser
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

import sagan
from sagan.checkpoint import Model, open_model
from sagan.data.decode import UnreadableError
from sagan.errors import SaganError
from sagan.explorer import pictures
from sagan.explorer.desk import BusyError, Desk
from sagan.explorer.guard import Guard
from sagan.explorer.history import History
from sagan.explorer.page import STATIC, live_page
from sagan.explorer.studio import GalleryRequest, SampleRequest, Studio

PORT = 7326
UPLOADS = 2  # bodies in memory at a time

BINARY = "application/octet-stream"
_Answers = dict[int | str, dict[str, Any]]
_TEXT: dict[str, Any] = {"content": {"application/json": {}}}
_GUARDED: _Answers = {400: {"description": "Not for this model, or an unknown Host", **_TEXT}}
_GUARDED |= {403: {"description": "A request from another site's page", **_TEXT}}
_BINARY: _Answers = {
    200: {"description": "A safetensors file", "content": {BINARY: {}}},
    429: {"description": "Too much is waiting", **_TEXT},
    **_GUARDED,
}


def create_app(model: Model, run: Path | None, host: str = "127.0.0.1") -> FastAPI:
    """The application for one model.

    Args:
        model: what is explored.
        run: the run directory it comes from, if it does: the page then has a training tab.
        host: the address or name that the server will be bound to.

    Raises:
        SaganError: the model's weights are damaged.
    """
    studio, desk = Studio(model), Desk()
    page, policy = live_page(model, studio, with_training=run is not None)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    app = FastAPI(
        title="sagan explore",
        version=sagan.__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's pages of documentation load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Guard, host=host, policy=policy)
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.exception_handler(SaganError)
    async def refuse(request: Request, error: SaganError) -> JSONResponse:
        return _problem(400, str(error))

    @app.exception_handler(BusyError)
    async def put_off(request: Request, error: BusyError) -> JSONResponse:
        return _problem(429, "too much is waiting: try again in a moment")

    @app.get("/", response_class=HTMLResponse, responses=_GUARDED)
    async def index() -> str:
        """The page."""
        return page

    @app.get("/api/gallery", response_class=Response, responses=_BINARY)
    async def gallery(request: Annotated[GalleryRequest, Query()]) -> Response:
        """24 samples: ``pictures`` uint8 (24, S, S, 3)."""
        return _binary(await desk.get(request, lambda: studio.gallery(request)))

    @app.get("/api/sample", response_class=Response, responses=_BINARY)
    async def sample(request: Annotated[SampleRequest, Query()]) -> Response:
        """One sample with its attention maps: see ``sagan.explorer.scene``."""
        return _binary(await desk.get(request, lambda: studio.sample(request).encode()))

    _add_upload(app, studio, desk, model.fit)
    if run is not None:
        _add_history(app, History(run))
    return app


def _add_upload(app: FastAPI, studio: Studio, desk: Desk, fit: str) -> None:
    room = asyncio.Semaphore(UPLOADS)
    answers: _Answers = _BINARY | {
        408: {"description": "It did not arrive in time", **_TEXT},
        413: {"description": "Too many bytes", **_TEXT},
        415: {"description": "Not a picture that can be read", **_TEXT},
    }
    body = {"requestBody": {"required": True, "content": {BINARY: {"schema": {"type": "string"}}}}}

    @app.post("/api/picture", response_class=Response, responses=answers, openapi_extra=body)
    async def picture(request: Request) -> Response:
        """What D makes of a picture file, which is the body: see ``sagan.explorer.scene``."""
        async with room:
            try:
                data = await pictures.received(request.stream())
                pixels = await pictures.decoded(data, studio.discriminator.resolution, fit)
            except TimeoutError:
                return _problem(408, "the picture did not arrive in time")
            except pictures.TooLargeError:
                return _problem(413, f"a picture may have {pictures.MAX_BYTES >> 20} MiB")
            except UnreadableError as error:
                return _problem(415, f"not a picture that can be read: {error}")
        key = hashlib.sha256(pixels.tobytes()).digest()
        return _binary(await desk.get(key, lambda: studio.look(pixels).encode()))


def _add_history(app: FastAPI, history: History) -> None:
    answers: _Answers = {304: {"description": "As it was"}, **_GUARDED}

    @app.get("/api/run/history", responses=answers)
    def curves(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """All curves of the run, and the steps that have a grid of samples."""
        content, tag = history.content()
        headers = {"etag": f'"{tag}"', "cache-control": "no-cache"}
        if if_none_match == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="application/json", headers=headers)

    missing: _Answers = {
        200: {"description": "A grid of samples", "content": {"image/png": {}}},
        404: {"description": "There is no grid of that step", **_TEXT},
        **_GUARDED,
    }

    @app.get("/api/run/grids/{step}", response_class=Response, responses=missing)
    def grid(step: Annotated[int, PathParameter(ge=0, lt=10**12)]) -> Response:
        """The samples drawn after a step, as PNG."""
        content = history.grid(step)
        if content is None:
            return _problem(404, f"there is no grid of step {step}")
        return Response(content, media_type="image/png", headers={"cache-control": "max-age=3600"})


def _binary(content: bytes) -> Response:
    return Response(content, media_type=BINARY, headers={"cache-control": "no-store"})


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


def serve(name: str, host: str, port: int | None, open_browser: bool) -> None:
    """Explore a model until Ctrl-C.

    Args:
        name: a run directory, a model file or a shipped model.
        host: address or name to bind to.
        port: None for 7326, or any free one if that is taken.
        open_browser: show the page.

    Raises:
        SaganError: there is no such model, or nothing can be bound there.
    """
    model = open_model(name)
    run = Path(name) if Path(name).is_dir() else None
    listener = listen(host, port)
    with listener:
        app = create_app(model, run, host)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        print(f"exploring {name} at {url} (Ctrl-C ends)", flush=True)
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_level="warning", server_header=False, timeout_graceful_shutdown=1
            )
        )
        if open_browser and _has_screen():
            webbrowser.open(url)  # the socket listens already: the browser waits for the server
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens there.

    Args:
        host: address or name.
        port: None for 7326, or any free one if that is taken.

    Raises:
        SaganError: it cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, None)[0][0]
        # asyncio switches off Nagle's algorithm, which costs 40 ms an answer, for TCP by name only.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, PORT if port is None else port))
        except OSError:
            if port is not None:
                listener.close()
                raise
            listener.bind((host, 0))
        listener.listen(128)
    except OSError as error:
        where = f"{host}:{PORT if port is None else port}"
        raise SaganError(f"cannot serve at {where}: {error.strerror}; try --port 0") from None
    return listener


def _has_screen() -> bool:
    """Whether a browser would be a window: on a terminal it would take the terminal."""
    screens = {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return platform.system() != "Linux" or bool(screens)
