"""A chat whose answers survive reloads, second devices and closed pages: they are in a durable stream.

Run it with `python app.py`, open the address that it prints, ask something, and reload in mid-answer.
"""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import create_server, socket

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from chat import Chat
from durafold import DurableStream
from durafold.client import Transport
from durafold_server import DurableStreamsApp
from durafold_server.store.sqlite import SqliteStore
from models import chosen_model

PORT = int(os.environ.get("PORT", "8000"))
DATA_DIR = os.environ.get("DATA_DIR", "durafold-data")
STREAMS = f"http://127.0.0.1:{PORT}/sync/v1/stream"
PAGE = Path(__file__).parent / "page.html"
MODEL = chosen_model()

streams = DurableStreamsApp(lambda: SqliteStore.open(DATA_DIR))


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with streams, Transport() as app.state.transport, anyio.create_task_group() as app.state.tasks:
        app.state.chats = {}
        yield
        app.state.tasks.cancel_scope.cancel()


def chat_of(request: Request) -> Chat:
    name, state = request.path_params["chat"], request.app.state
    if name not in state.chats:
        url = f"{STREAMS}/chat/{name}"
        stream = DurableStream(url, content_type="application/json", transport=state.transport)
        state.chats[name] = Chat(stream)
    chat: Chat = state.chats[name]
    return chat


async def begin(_: Request) -> Response:
    return RedirectResponse(f"/c/{secrets.token_hex(4)}")


async def show(request: Request) -> Response:
    await chat_of(request).settle()
    return FileResponse(PAGE)


async def ask(request: Request) -> Response:
    chat, text = chat_of(request), str((await request.json()).get("text", "")).strip()
    if not text:
        return JSONResponse({"error": "Ask something"}, status_code=422)
    if chat.is_busy:
        return JSONResponse({"error": "One question at a time"}, status_code=409)
    turn = await chat.ask(text)
    # Not tied to this request: the answer goes on when the page is closed.
    request.app.state.tasks.start_soon(chat.answer, turn, MODEL)
    return JSONResponse({"turn": turn}, status_code=202)


app = Starlette(
    routes=[
        Route("/", begin),
        Route("/c/{chat:str}", show),
        Route("/c/{chat:str}", ask, methods=["POST"]),
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
    print(f"Chat: http://127.0.0.1:{PORT}/", flush=True)
    with suppress(KeyboardInterrupt):
        WebServer(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)).run([listener])
