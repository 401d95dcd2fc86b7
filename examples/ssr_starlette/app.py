"""Real server-side rendering: the first HTML holds the state, and a page load fetches only what is new.

Run it with `python app.py`, and open the address that it prints. The stream server runs in this process too,
unless STREAM_URL names another one.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import create_server, socket

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from durafold import LoadedState, Provider, load_stream_with_reducer, ssr_state_cache
from durafold_server import DurableStreamsApp
from durafold_server.config import InspectorSettings
from durafold_server.store.sqlite import SqliteStore
from guestbook import KEY, Guestbook, Sign, guestbook_reducer
from page import render

HERE = Path(__file__).parent
PORT = int(os.environ.get("PORT", "8000"))
DATA_DIR = os.environ.get("DATA_DIR", "durafold-data")
STREAM_URL = os.environ.get("STREAM_URL", f"http://127.0.0.1:{PORT}/sync/v1/stream")

# The page at /sync/_ui/ shows streams, and the states that this reducer makes of them.
shown = InspectorSettings(reducers=("guestbook:guestbook_reducer",))
streams = DurableStreamsApp(lambda: SqliteStore.open(DATA_DIR), inspector=shown)


async def load() -> LoadedState[Guestbook]:
    """The guestbook up to now: the cached state, and the messages since then."""
    return await load_stream_with_reducer(
        STREAM_URL, KEY, guestbook_reducer, Guestbook(), cache=ssr_state_cache
    )


async def index(_: Request) -> Response:
    return HTMLResponse(render(await load(), f"{STREAM_URL}/{KEY}"))


async def sign(request: Request) -> Response:
    """Works without JavaScript: a form, an action, and the page again."""
    async with request.form() as form:
        name, text = form.get("name", ""), form.get("text", "")
    try:
        action = Sign.model_validate({"name": name, "text": text})
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        return HTMLResponse(render(await load(), f"{STREAM_URL}/{KEY}", message), status_code=422)
    await request.app.state.guestbook.dispatch(action).sent  # durable, so the next page has it
    return RedirectResponse("/", status_code=303)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with streams, Provider(STREAM_URL) as party:
        # For writing. Pages are loaded afresh, as they are by programs that keep no connection open.
        app.state.guestbook = party.server_reducer(guestbook_reducer, Guestbook(), KEY)
        yield


app = Starlette(
    routes=[
        Route("/", index),
        Route("/sign", sign, methods=["POST"]),
        Mount("/assets", StaticFiles(directory=HERE / "assets")),
        Mount("/sync", streams),
    ],
    lifespan=lifespan,
)


def listen() -> socket:
    try:
        return create_server(("127.0.0.1", PORT))
    except OSError as error:
        raise SystemExit(
            f"Cannot listen on port {PORT} ({os.strerror(error.errno or 0)}). End the program that uses it, "
            f"or choose another port: PORT={PORT + 1} python app.py"
        ) from error


class WebServer(uvicorn.Server):
    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        streams.stop()  # ends live readers, for which uvicorn would wait
        await super().shutdown(sockets)


if __name__ == "__main__":
    listener = listen()
    print(f"Guestbook: http://127.0.0.1:{PORT}/", flush=True)
    with suppress(KeyboardInterrupt):
        WebServer(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)).run([listener])
