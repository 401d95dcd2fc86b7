"""The publishing side: what the triggers have noted goes into the stream, each change exactly once.

    python publish.py

It may be killed at any moment. Before a batch is sent, the database notes where it ends, so the next run
sends the same batch again, under the same `Stream-Seq`. If it had arrived, the server refuses the second copy
(PROTOCOL §5.2), even one that was on its way when the process died.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TypeVar

from durafold.blocking import DurableStream
from durafold.errors import SequenceConflict, ServerUnavailable, TransportError
from durafold.state_protocol import Change
from products import STREAM, STREAM_URL, Product, products
from shop import open_shop

T = TypeVar("T")

POLL_INTERVAL_S = 0.1
MAX_BATCH = 1000


def main() -> None:
    url = f"{STREAM_URL}/{STREAM}"
    with closing(open_shop()) as shop, DurableStream(url, content_type="application/json") as stream:
        patiently(stream.create)  # does nothing if it exists
        print("publishing", flush=True)
        while True:
            last_number = next_batch(shop)
            if last_number is None:
                time.sleep(POLL_INTERVAL_S)
                continue
            changes = changes_up_to(shop, last_number)
            patiently(lambda changes=changes, seq=last_number: append_once(stream, changes, seq))
            forget(shop, last_number)
            print(f"published {len(changes)} changes", flush=True)


def next_batch(shop: sqlite3.Connection) -> int | None:
    """The number of the last change of the batch to send: the unfinished one, or a new one."""
    with shop:
        shop.execute("BEGIN IMMEDIATE")
        noted = shop.execute("SELECT last_number FROM batch").fetchone()
        if noted:
            return int(noted[0])
        (last_number,) = shop.execute(
            "SELECT max(number) FROM (SELECT number FROM changes ORDER BY number LIMIT ?)", (MAX_BATCH,)
        ).fetchone()
        if last_number is not None:
            shop.execute("INSERT INTO batch VALUES (?)", (last_number,))
        return last_number


def changes_up_to(shop: sqlite3.Connection, last_number: int) -> list[Change]:
    rows = shop.execute(
        "SELECT operation, id, row FROM changes WHERE number <= ? ORDER BY number", (last_number,)
    )
    return [change(*row) for row in rows]


def change(operation: str, key: str, row: str | None) -> Change:
    if row is None:
        return products.delete(key)
    product = Product.model_validate_json(row)
    return products.insert(product) if operation == "insert" else products.update(product)


def append_once(stream: DurableStream, changes: list[Change], seq: int) -> None:
    """Append a batch unless it is there. Numbers are padded because the server compares them as text."""
    with suppress(SequenceConflict):
        stream.append_many([change.to_message() for change in changes], seq=f"{seq:020}")


def forget(shop: sqlite3.Connection, last_number: int) -> None:
    """The batch is in the stream."""
    with shop:
        shop.execute("DELETE FROM changes WHERE number <= ?", (last_number,))
        shop.execute("DELETE FROM batch WHERE last_number = ?", (last_number,))


def patiently(call: Callable[[], T]) -> T:
    """Until the server has answered. A lost answer may mean that all went well, so `call` must bear that."""
    while True:
        try:
            return call()
        except (TransportError, ServerUnavailable) as error:
            print(f"waiting for the server: {error.message}", flush=True)
            time.sleep(POLL_INTERVAL_S)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
