"""A mirror that keeps: the same table in another SQLite file, for a machine that is often offline.

    python mirror.py

The rows and the offset up to which they are true change in one transaction. So it fetches only what it has
missed, and can be killed at any moment.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from durafold.blocking import START, DurableStream
from durafold.client import Offset
from durafold.errors import StreamNotFound
from durafold.state_protocol import Change, Control, InvalidChange, parse_message
from products import STREAM, STREAM_URL, products

FILE = Path(os.environ.get("MIRROR", "mirror.db"))

TABLES = """
CREATE TABLE IF NOT EXISTS products(id TEXT PRIMARY KEY, name TEXT NOT NULL, price_cents INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS place(id INTEGER PRIMARY KEY CHECK (id = 1), next_offset TEXT NOT NULL);
"""


def main() -> None:
    with closing(sqlite3.connect(FILE)) as mirror, DurableStream(f"{STREAM_URL}/{STREAM}") as stream:
        mirror.executescript(TABLES)
        with stream.follow(resume_from(mirror)) as pages:
            for page in pages:
                messages = page.json()
                with mirror:  # one transaction: the rows and the offset behind them, or neither
                    for message in messages:
                        apply(mirror, parse_message(message))
                    mirror.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (page.next_offset,))
                (rows,) = mirror.execute("SELECT count(*) FROM products").fetchone()
                print(f"{len(messages)} changes, {rows} products", flush=True)


def resume_from(mirror: sqlite3.Connection) -> Offset:
    row = mirror.execute("SELECT next_offset FROM place").fetchone()
    return Offset(row[0]) if row else START


def apply(mirror: sqlite3.Connection, message: Change | Control | InvalidChange | None) -> None:
    match message:
        case Change(type=products.type) if message.headers.operation == "delete":
            mirror.execute("DELETE FROM products WHERE id = ?", (message.key,))
        case Change(type=products.type):
            product = products.row(message)
            row = product.id, product.name, product.price_cents
            mirror.execute("INSERT OR REPLACE INTO products VALUES (?, ?, ?)", row)
        case Control() if message.headers.control == "reset":
            mirror.execute("DELETE FROM products")
        case _:  # of another collection, or nothing we know
            pass


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        try:
            main()
        except StreamNotFound:
            raise SystemExit("There is nothing to mirror yet: start publish.py first") from None
