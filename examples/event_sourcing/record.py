"""The writing side: append what happened.

python record.py place A-1 ada 19.90
python record.py cancel A-1
"""

import os
import sys

import anyio

from durafold import DurableStream
from durafold.errors import ConnectFailed
from events import STREAM, OrderCancelled, OrderPlaced

STREAM_URL = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")


async def main(arguments: list[str]) -> None:
    match arguments:
        case ["place", order, customer, total]:
            event = OrderPlaced.model_validate({"order": order, "customer": customer, "total": total})
        case ["cancel", order]:
            event = OrderCancelled(order=order)
        case _:
            raise SystemExit(__doc__)
    async with DurableStream(f"{STREAM_URL}/{STREAM}", content_type="application/json") as orders:
        await orders.create()  # does nothing if it exists
        appended = await orders.append(event.model_dump(mode="json"))
    print(f"recorded at {appended.next_offset}")


if __name__ == "__main__":
    try:
        anyio.run(main, sys.argv[1:])
    except ConnectFailed as error:
        raise SystemExit(f"{error} To start one: durafold serve") from error
