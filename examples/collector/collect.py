"""Collects readings of this machine and appends each of them exactly once. Blocking Python, no event loop.

    python collect.py

A reading is kept until the server has it: end the server, start it again, and no reading is missing. Each is
also counted into a value that all collectors share.
"""

import os
import platform
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any

from durafold.blocking import Delivery, DurableStream, IdempotentProducer, Provider, ServerState
from durafold.errors import ConnectFailed
from summary import Summary, summary

STREAM_URL = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")
INTERVAL_S = float(os.environ.get("INTERVAL_S", "1"))
READINGS = int(os.environ["READINGS"]) if "READINGS" in os.environ else None  # None: until Ctrl-C

MACHINE = platform.node() or "localhost"


def main() -> None:
    url = f"{STREAM_URL}/readings/{MACHINE}"
    with Provider(STREAM_URL) as party, DurableStream(url, content_type="application/json") as stream:
        seen = party.open(summary)
        stream.create()  # does nothing if it exists
        # A start must take a higher epoch than all before it. The clock gives one, and needs no file.
        epoch = time.time_ns() // 1_000_000
        with IdempotentProducer(stream, "collector", epoch=epoch) as producer:
            for number in islice(count(1), READINGS):
                taken = reading(number)
                producer.append(taken, on_done=report)
                count_in(seen, taken["load"])
                print(f"took reading {number}", flush=True)
                time.sleep(INTERVAL_S)
        # Leaving that block waits until the server has every reading, and this until all are counted.
        party.flush()


def reading(number: int) -> dict[str, Any]:
    return {
        "number": number,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "load": os.getloadavg()[0],
        "free_disk_bytes": shutil.disk_usage("/").free,
    }


def count_in(seen: ServerState[Summary], load: float) -> None:
    """However many collectors do it at once, nothing is lost: the function is run again on a newer value."""
    seen.set(lambda before: before.with_reading(load))


def report(delivery: Delivery) -> None:
    """Called in another thread, so it only prints."""
    print("  not delivered: " + str(delivery.error) if delivery.error else "  delivered", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        try:
            main()
        except ConnectFailed as error:
            raise SystemExit(f"{error} To start one: durafold serve") from error
