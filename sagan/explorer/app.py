"""The server behind the page: its routes, and how it is started."""

import asyncio
import contextlib
import hashlib
import os
import platform
import signal
import threading
import webbrowser
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import FastAPI, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.requests import ClientDisconnect

from sagan._version import __version__
from sagan.errors import SaganError, UnreadableError, is_out_of_memory, printable, shorten
from sagan.explorer.history import FOLDERS, History
from sagan.explorer.page import STATIC, served_page
from sagan.explorer.projecting import projection_lines
from sagan.explorer.renderer import GalleryRequest, Renderer, SampleRequest
from sagan.explorer.security import SecurityMiddleware
from sagan.explorer.sockets import listen, url_of
from sagan.explorer.uploads import MAX_BYTES, TooLargeError, UploadDecoder
from sagan.explorer.work_queue import CACHE_BYTES, BusyError, WorkQueue
from sagan.hub.folder import is_hub_folder
from sagan.model import Model, open_model
from sagan.report.tracks import FILM_STATIC
from sagan.run.directory import is_run
from sagan.run.run import Run
from sagan.runtime.device import CPU

BINARY = "application/octet-stream"
END_SECONDS = 1.5  # after a signal; visitors have one second to receive their answers
_REVALIDATE = {"cache-control": "no-cache"}  # browsers may keep it, but must ask before they use it

# What the OpenAPI schema says of responses: {status: description and content types}.
_Responses = dict[int | str, dict[str, Any]]
_JSON: dict[str, Any] = {"content": {"application/json": {}}}
_REFUSALS: _Responses = {
    400: {"description": "Not possible with this model, or an unknown Host", **_JSON},
    403: {"description": "A request from another site's page", **_JSON},
}
_RESULTS: _Responses = {
    200: {"description": "A safetensors file", "content": {BINARY: {}}},
    429: {"description": "The server is busy", **_JSON},
    503: {"description": "The server has not enough memory", **_JSON},
    **_REFUSALS,
}


def create_app(
    model: Model,
    run: Path | None,
    host: str = "127.0.0.1",
    cache_bytes: int = CACHE_BYTES,
    device: torch.device = CPU,
    beside: Path | None = None,
) -> FastAPI:
    """Return the web application for one model.

    Args:
        model: the model to explore.
        run: the model's run directory, if it has one: the page then has a training tab.
        host: the address or name that the server will be bound to.
        cache_bytes: total size of cached galleries and samples.
        device: where the networks compute.
        beside: another run directory, shown beside `run` in the training tab.

    Raises:
        SaganError: the model's weights are damaged, or the description of a run is.
    """
    renderer, queue = Renderer(model, device), WorkQueue(cache_bytes)
    runs = [path for path in (run, beside) if path is not None]
    page, policy = served_page(model, renderer, [Run(path) for path in runs])

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        queue.close()

    app = FastAPI(
        title="sagan explore",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's documentation pages load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(SecurityMiddleware, host=host, policy=policy)
    files = _RevalidatedFiles(directory=STATIC)
    files.all_directories.append(FILM_STATIC)
    app.mount("/static", files)
    _add_error_handlers(app)

    @app.get("/", response_class=HTMLResponse, responses=_REFUSALS)
    async def index() -> HTMLResponse:
        """The page."""
        return HTMLResponse(page, headers=_REVALIDATE)

    @app.get("/api/gallery", response_class=Response, responses=_RESULTS)
    async def gallery(asked: Annotated[GalleryRequest, Query()], request: Request) -> Response:
        """24 samples: `images` uint8 (24, H, W, 3)."""
        return await _result(request, queue.get(asked, lambda: renderer.gallery(asked)))

    @app.get("/api/sample", response_class=Response, responses=_RESULTS)
    async def sample(asked: Annotated[SampleRequest, Query()], request: Request) -> Response:
        """One sample with its attention maps: see `sagan.explorer.payload`."""
        return await _result(request, queue.get(asked, lambda: renderer.sample(asked).encode()))

    uploads = UploadDecoder(renderer.discriminator.shape, model.fit)
    _add_upload(app, renderer, queue, uploads)
    for name, path in zip(("run", "beside"), runs, strict=False):
        _add_history(app, f"/api/{name}", History(path))
    return app


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(SaganError)
    async def refuse(request: Request, error: SaganError) -> JSONResponse:
        return _error(400, str(error))

    @app.exception_handler(BusyError)
    async def postpone(request: Request, error: BusyError) -> JSONResponse:
        return _error(429, "the server is busy: try again in a moment")

    @app.exception_handler(MemoryError)
    @app.exception_handler(RuntimeError)
    async def lack_memory(request: Request, error: Exception) -> JSONResponse:
        if not is_out_of_memory(error):
            raise error
        return _error(503, "the server has not enough memory for this: try again later")

    @app.exception_handler(ClientDisconnect)
    async def give_up(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody will read it


def _add_upload(app: FastAPI, renderer: Renderer, queue: WorkQueue, uploads: UploadDecoder) -> None:
    responses: _Responses = _RESULTS | {
        408: {"description": "The upload timed out", **_JSON},
        413: {"description": "Too many bytes", **_JSON},
        415: {"description": "Not a readable image", **_JSON},
    }
    body = {"requestBody": {"required": True, "content": {BINARY: {"schema": {"type": "string"}}}}}

    @app.exception_handler(TimeoutError)
    async def too_late(request: Request, error: TimeoutError) -> JSONResponse:
        return _error(408, "the image took too long to arrive")

    @app.exception_handler(TooLargeError)
    async def too_large(request: Request, error: TooLargeError) -> JSONResponse:
        return _error(413, f"an image may have at most {MAX_BYTES >> 20} MiB")

    @app.exception_handler(UnreadableError)
    async def unreadable(request: Request, error: UnreadableError) -> JSONResponse:
        return _error(415, f"not a readable image: {error}")

    @app.post("/api/image", response_class=Response, responses=responses, openapi_extra=body)
    async def image(request: Request) -> Response:
        """D's attention and scores for the image file in the body: see `sagan.explorer.payload`."""
        pixels = await uploads.decode(request.stream())
        key = hashlib.sha256(pixels.tobytes()).digest()
        return await _result(request, queue.get(key, lambda: renderer.judge(pixels).encode()))

    lines: _Responses = {
        200: {"description": "JSON lines", "content": {"application/x-ndjson": {}}}
    }

    @app.post(
        "/api/projection",
        response_class=StreamingResponse,
        responses=responses | lines,
        openapi_extra=body,
    )
    async def projection(request: Request) -> StreamingResponse:
        """The sample nearest to the image file in the body: see `sagan.explorer.projecting`."""
        pixels = await uploads.decode(request.stream())
        found = projection_lines(renderer, queue, pixels)
        return StreamingResponse(
            found, media_type="application/x-ndjson", headers={"cache-control": "no-store"}
        )


def _add_history(app: FastAPI, prefix: str, history: History) -> None:
    unchanged: _Responses = {304: {"description": "Unchanged"}, **_REFUSALS}

    @app.get(f"{prefix}/history", responses=unchanged)
    def curves(if_none_match: Annotated[str | None, Header()] = None) -> Response:
        """All curves of the run, and the steps at which it saved images."""
        return _tagged(history.content(), if_none_match, "application/json")

    for images, folder in FOLDERS.items():
        _add_images(app, f"{prefix}/{images}", folder, history)


def _add_images(app: FastAPI, prefix: str, folder: str, history: History) -> None:
    responses: _Responses = {
        200: {"description": "An image", "content": {"image/png": {}}},
        304: {"description": "Unchanged"},
        404: {"description": "The step has no such image", **_JSON},
        **_REFUSALS,
    }

    @app.get(f"{prefix}/{{step}}", response_class=Response, responses=responses)
    def image(
        step: Annotated[int, PathParameter(ge=0, lt=10**12)],
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """What the run saved after a step, as PNG: a grid of samples, or a figure of attention."""
        content = history.image(folder, step)
        if not content:
            return _error(404, f"step {step} has no image in {folder}/")
        return _tagged(content, if_none_match, "image/png")


class _RevalidatedFiles(StaticFiles):
    """The page's own files; browsers must not use those of an earlier version."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_REVALIDATE)
        return response


def _tagged(content: bytes, known_tag: str | None, media_type: str) -> Response:
    """The content with an entity tag of its own, or 304 if the browser knows that tag.

    The tag depends on the content alone: a minute later another run may be served at this address.
    """
    headers = {"etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', **_REVALIDATE}
    if known_tag == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


async def _result(request: Request, work: Coroutine[Any, Any, bytes]) -> Response:
    """The result of some work, unless the visitor leaves before it is done.

    Raises:
        ClientDisconnect: the visitor has left and the work was canceled.
    """
    result = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((result, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise ClientDisconnect
        return Response(result.result(), media_type=BINARY, headers={"cache-control": "no-store"})
    finally:
        result.cancel()
        disconnect.cancel()


async def _disconnected(request: Request) -> None:
    """Return when the visitor has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": shorten(printable(detail))}, status)


class _PromptServer(uvicorn.Server):
    """A server that ends soon after a signal, whatever still runs.

    Threads cannot be stopped: Python would wait for the job in progress, which may take minutes.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        status = 0 if sig == signal.SIGINT else 128 + sig
        deadline = threading.Timer(END_SECONDS, os._exit, [status])
        deadline.daemon = True
        deadline.start()
        super().handle_exit(sig, frame)


def serve(
    name: str,
    host: str,
    port: int | None,
    open_browser: bool,
    device: torch.device = CPU,
    beside: Path | None = None,
) -> None:
    """Serve the page for a model until Ctrl-C.

    Args:
        name: a run directory, a model file or a shipped model.
        host: address or name to bind to.
        port: None for 7326, or any free port if that one is taken.
        open_browser: open the page in a browser, if there is a screen.
        device: where the networks compute.
        beside: another run directory, shown beside this one in the training tab.

    Raises:
        SaganError: the model does not exist, there is a run beside a model that is not one, or the
            address is not available.
    """
    model = open_model(name)
    path = Path(name)
    run = path if is_run(path) and not is_hub_folder(path) else None
    if beside is not None:
        if run is None:
            raise SaganError(f"--beside shows two runs, but '{name}' is not a run directory")
        Run(beside).require()
    with listen(host, port) as listener:
        app = create_app(model, run, host, device=device, beside=beside)
        where = url_of(listener, host)
        print(f"exploring {printable(name)} at {where} (Ctrl-C to stop)", flush=True)
        server = _PromptServer(
            uvicorn.Config(
                app, log_level="warning", server_header=False, timeout_graceful_shutdown=1
            )
        )
        if open_browser and _has_screen():
            # The socket is listening already, so the browser waits for the server to start.
            webbrowser.open(url_of(listener, host, here=True))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _has_screen() -> bool:
    """Whether a browser would open a window; a text browser would take over the terminal."""
    displays = {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    return platform.system() != "Linux" or bool(displays)
