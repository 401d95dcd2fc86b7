"""A mirror in memory: the table as typed rows, and what each commit changed.

python watch.py
"""

import time
from collections.abc import Sequence
from contextlib import suppress

from durafold.blocking import DurableStream, StreamDB
from durafold.errors import StreamNotFound
from durafold.state_protocol import RowChange
from products import STREAM, STREAM_URL, Product, products


def main() -> None:
    with DurableStream(f"{STREAM_URL}/{STREAM}") as stream, StreamDB(stream, products) as db:
        db[products].subscribe(show)  # the first commit holds all rows there are
        db.preload()
        print(f"{len(db[products])} products", flush=True)
        while db.status != "failed":  # it goes on by itself, offline or not
            time.sleep(1)
        raise db.error or RuntimeError("reading has failed")


def show(changes: Sequence[RowChange[Product]]) -> None:
    for change in changes:
        print(f"{change.operation} {change.key}: {label(change.old)} -> {label(change.row)}", flush=True)


def label(product: Product | None) -> str:
    return f"{product.name} at {product.price_cents / 100:.2f}" if product else "nothing"


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        try:
            main()
        except StreamNotFound:
            raise SystemExit("There is nothing to watch yet: start publish.py first") from None
