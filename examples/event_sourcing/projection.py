"""The reading side: a table of what each customer has ordered, kept up to date from the events.

    python projection.py

The table and the offset up to which it is true are in one SQLite file and change in one transaction. So the
projection can be killed at any moment, and goes on without a gap or a repetition; delete the file, and it is
built anew from the first event.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import anyio

from durafold import DurableStream
from durafold.client import START, Offset
from durafold.errors import ConnectFailed
from events import STREAM, OrderCancelled, OrderPlaced, order_event

STREAM_URL = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")
FILE = Path(os.environ.get("PROJECTION", "projection.db"))

TABLES = """
CREATE TABLE IF NOT EXISTS placed(number TEXT PRIMARY KEY, customer TEXT NOT NULL, cents INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS place(id INTEGER PRIMARY KEY CHECK (id = 1), next_offset TEXT NOT NULL);
"""


async def main() -> None:
    with closing(sqlite3.connect(FILE)) as database:
        database.executescript(TABLES)
        start = resume_from(database)
        print(f"going on from {start}" if start != START else "starting from the first event", flush=True)
        async with DurableStream(f"{STREAM_URL}/{STREAM}", content_type="application/json") as orders:
            await orders.create()
            async for page in orders.follow(start):
                with database:  # one transaction: the events and the offset behind them, or neither
                    for message in page.json():
                        project(database, order_event.validate_python(message))
                    database.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (page.next_offset,))
                if page.up_to_date:
                    show(database)


def resume_from(database: sqlite3.Connection) -> Offset:
    row = database.execute("SELECT next_offset FROM place").fetchone()
    return Offset(row[0]) if row else START


def project(database: sqlite3.Connection, event: OrderPlaced | OrderCancelled) -> None:
    match event:
        case OrderPlaced(order=order, customer=customer, total=total):
            row = order, customer, int(total * 100)
            database.execute("INSERT OR IGNORE INTO placed VALUES (?, ?, ?)", row)
        case OrderCancelled(order=order):
            database.execute("DELETE FROM placed WHERE number = ?", (order,))


def show(database: sqlite3.Connection) -> None:
    rows = database.execute(
        "SELECT customer, count(*), sum(cents) FROM placed GROUP BY customer ORDER BY customer"
    )
    accounts = [f"{customer}: {count} orders, {cents / 100:.2f}" for customer, count, cents in rows]
    print("; ".join(accounts) or "no orders", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        try:
            anyio.run(main)
        except ConnectFailed as error:
            raise SystemExit(f"{error} To start one: durafold serve") from error
