"""The server behind the page: routes, and how it is started."""

import asyncio
import contextlib
import hashlib
import os
import platform
import webbrowser
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import ClientDisconnect

from sagan._version import __version__
from sagan.errors import SaganError, UnreadableError
from sagan.explorer.history import History
from sagan.explorer.page import STATIC, live_page
from sagan.explorer.renderer import GalleryRequest, SampleRequest, Studio
from sagan.explorer.security import Guard
from sagan.explorer.sockets import listen, url_of
from sagan.explorer.uploads import MAX_BYTES, Intake, TooLargeError
from sagan.explorer.work_queue import CACHE_BYTES, BusyError, Desk
from sagan.model import Model, open_model
from sagan.run.directory import is_run

BINARY = "application/octet-stream"
_FRESH = {"cache-control": "no-cache"}  # kept by a browser, and asked about before it is used
_Answers = dict[int | str, dict[str, Any]]
_TEXT: dict[str, Any] = {"content": {"application/json": {}}}
_GUARDED: _Answers = {400: {"description": "Not for this model, or an unknown Host", **_TEXT}}
_GUARDED |= {403: {"description": "A request from another site's page", **_TEXT}}
_BINARY: _Answers = {
    200: {"description": "A safetensors file", "content": {BINARY: {}}},
    429: {"description": "Too much is waiting", **_TEXT},
    **_GUARDED,
}


def create_app(
    model: Model, run: Path | None, host: str = "127.0.0.1", cache_bytes: int = CACHE_BYTES
) -> FastAPI:
    """The application for one model.

    Args:
        model: what is explored.
        run: the run directory it comes from, if it does: the page then has a training tab.
        host: the address or name that the server will be bound to.
        cache_bytes: galleries and samples that are remembered.

    Raises:
        SaganError: the model's weights are damaged.
    """
    studio, desk = Studio(model), Desk(cache_bytes)
    page, policy = live_page(model, studio, with_training=run is not None)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    app = FastAPI(
        title="sagan explore",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's pages of documentation load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Guard, host=host, policy=policy)
    app.mount("/static", _Modules(directory=STATIC))

    @app.exception_handler(SaganError)
    async def refuse(request: Request, error: SaganError) -> JSONResponse:
        return _problem(400, str(error))

    @app.exception_handler(BusyError)
    async def put_off(request: Request, error: BusyError) -> JSONResponse:
        return _problem(429, "too much is waiting: try again in a moment")

    @app.exception_handler(ClientDisconnect)
    async def give_up(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # which nobody reads

    @app.get("/", response_class=HTMLResponse, responses=_GUARDED)
    async def index() -> HTMLResponse:
        """The page."""
        return HTMLResponse(page, headers=_FRESH)

    @app.get("/api/gallery", response_class=Response, responses=_BINARY)
    async def gallery(asked: Annotated[GalleryRequest, Query()], request: Request) -> Response:
        """24 samples: `pictures` uint8 (24, S, S, 3)."""
        return await _made(request, desk.get(asked, lambda: studio.gallery(asked)))

    @app.get("/api/sample", response_class=Response, responses=_BINARY)
    async def sample(asked: Annotated[SampleRequest, Query()], request: Request) -> Response:
        """One sample with its attention maps: see `sagan.explorer.payload`."""
        return await _made(request, desk.get(asked, lambda: studio.sample(asked).encode()))

    _add_upload(app, studio, desk, Intake(studio.discriminator.resolution, model.fit))
    if run is not None:
        _add_history(app, History(run))
    return app


def _add_upload(app: FastAPI, studio: Studio, desk: Desk, intake: Intake) -> None:
    answers: _Answers = _BINARY | {
        408: {"description": "It did not arrive in time", **_TEXT},
        413: {"description": "Too many bytes", **_TEXT},
        415: {"description": "Not a picture that can be read", **_TEXT},
    }
    body = {"requestBody": {"required": True, "content": {BINARY: {"schema": {"type": "string"}}}}}

    @app.post("/api/picture", response_class=Response, responses=answers, openapi_extra=body)
    async def picture(request: Request) -> Response:
        """What D makes of a picture file, which is the body: see `sagan.explorer.payload`."""
        try:
            pixels = await intake.take(request.stream())
        except TimeoutError:
            return _problem(408, "the picture did not arrive in time")
        except TooLargeError:
            return _problem(413, f"a picture may have {MAX_BYTES >> 20} MiB")
        except UnreadableError as error:
            return _problem(415, f"not a picture that can be read: {error}")
        key = hashlib.sha256(pixels.tobytes()).digest()
        return await _made(request, desk.get(key, lambda: studio.look(pixels).encode()))


def _add_history(app: FastAPI, history: History) -> None:
    kept: _Answers = {304: {"description": "As it was"}, **_GUARDED}

    @app.get("/api/run/history", responses=kept)
    def curves(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """All curves of the run, and the steps that have a grid of samples."""
        return _unless_known(history.content(), if_none_match, "application/json")

    answers: _Answers = {
        200: {"description": "A grid of samples", "content": {"image/png": {}}},
        404: {"description": "There is no grid of that step", **_TEXT},
        **kept,
    }

    @app.get("/api/run/grids/{step}", response_class=Response, responses=answers)
    def grid(
        step: Annotated[int, PathParameter(ge=0, lt=10**12)],
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """The samples drawn after a step, as PNG."""
        content = history.grid(step)
        if content is None:
            return _problem(404, f"there is no grid of step {step}")
        return _unless_known(content, if_none_match, "image/png")


class _Modules(StaticFiles):
    """Files of the page, of which a browser may not take those of an earlier version."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_FRESH)
        return response


def _unless_known(content: bytes, known: str | None, media_type: str) -> Response:
    """The content under a tag of its own, or 304 if that is the tag known to the browser.

    Another run may be served at the same address a minute later.
    """
    headers = {"etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', **_FRESH}
    if known == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


async def _made(request: Request, making: Coroutine[Any, Any, bytes]) -> Response:
    """What is made for a visitor, as long as that one is there.

    Raises:
        ClientDisconnect: the visitor has left, and the making was canceled.
    """
    made, gone = asyncio.ensure_future(making), asyncio.ensure_future(_leaving(request))
    try:
        await asyncio.wait((made, gone), return_when=asyncio.FIRST_COMPLETED)
        if not made.done():
            raise ClientDisconnect
        return Response(made.result(), media_type=BINARY, headers={"cache-control": "no-store"})
    finally:
        made.cancel()
        gone.cancel()


async def _leaving(request: Request) -> None:
    """Ends when the visitor has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


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
    run = Path(name) if is_run(Path(name)) else None
    with listen(host, port) as listener:
        app = create_app(model, run, host)
        print(f"exploring {name} at {url_of(listener, host)} (Ctrl-C ends)", flush=True)
        server = uvicorn.Server(
            uvicorn.Config(
                app, log_level="warning", server_header=False, timeout_graceful_shutdown=1
            )
        )
        if open_browser and _has_screen():
            # The socket listens already: the browser waits for the server.
            webbrowser.open(url_of(listener, host, here=True))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _has_screen() -> bool:
    """Whether a browser would be a window: on a terminal it would take the terminal."""
    screens = {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return platform.system() != "Linux" or bool(screens)
