"""The stream server inside a FastAPI app, and a background job that changes the same state as the page.

Run it with `python app.py`, and open the address that it prints.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import create_server, socket

import anyio
import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse

from durafold import Provider
from durafold_server import DurableStreamsApp
from durafold_server.config import InspectorSettings
from durafold_server.store.sqlite import SqliteStore
from jobs import Add, Job, Jobs, Progress, job_reducer, next_step

PORT = int(os.environ.get("PORT", "8000"))
DATA_DIR = os.environ.get("DATA_DIR", "durafold-data")
STEP_S = float(os.environ.get("STEP_S", "0.4"))
PAGE = Path(__file__).parent / "page.html"

# The page at /sync/_ui/ shows streams, and the states that this reducer makes of them.
shown = InspectorSettings(reducers=("jobs:job_reducer",))
streams = DurableStreamsApp(lambda: SqliteStore.open(DATA_DIR), inspector=shown)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # The app's own streams over its own port. Whatever else knows the address takes part: other processes,
    # browsers, `durafold tail`.
    async with (
        streams,
        Provider(f"http://127.0.0.1:{PORT}/sync/v1/stream") as party,
        anyio.create_task_group() as tasks,
    ):
        app.state.jobs = party.server_reducer(job_reducer, Jobs(), "jobs")
        tasks.start_soon(work, app)
        yield
        tasks.cancel_scope.cancel()


async def work(app: FastAPI) -> None:
    """The background job: takes the oldest job that is not done a step further, for ever."""
    while True:
        await anyio.sleep(STEP_S)
        job = next_step(app.state.jobs.confirmed)
        if job is not None:
            await app.state.jobs.dispatch(Progress(id=job.id, percent=min(100, job.percent + 20)))


app = FastAPI(title="Jobs", lifespan=lifespan)
app.mount("/sync", streams)


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(PAGE)


@app.get("/jobs")
async def jobs() -> list[Job]:
    """A plain memory read: the state is kept up to date in this process."""
    return app.state.jobs.value.jobs


@app.post("/jobs", status_code=202)
async def add(action: Add) -> None:
    """Returns when the job is in the log, durable."""
    await app.state.jobs.dispatch(action)


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
    print(f"Jobs: http://127.0.0.1:{PORT}/", flush=True)
    with suppress(KeyboardInterrupt):
        WebServer(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)).run([listener])
