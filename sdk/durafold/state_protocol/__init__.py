"""The State Protocol: tables of rows in a JSON stream, as npm `@durable-streams/state` reads and writes them.

    class User(BaseModel):
        id: str
        name: str

    users = Collection("user", User, primary_key="id")

    async with StreamDB(DurableStream(url), users) as db:
        await db.preload()
        db[users].get("1")
        await db.write(users.insert(User(id="1", name="Ann")))

A stream of this protocol is another thing than a stream of `use_server_state` or `use_server_reducer`: those
hold actions, this holds rows. Do not mix them in one stream.

`messages`, `materialized` and `collections` are pure; `db` reads and writes a stream.
"""

from __future__ import annotations

from durafold.state_protocol.collections import Collection, RowChange, Table
from durafold.state_protocol.db import StreamDB
from durafold.state_protocol.materialized import MaterializedState
from durafold.state_protocol.messages import (
    Change,
    ChangeHeaders,
    Control,
    ControlHeaders,
    InvalidChange,
    Operation,
    parse_message,
)

__all__ = [
    "Change",
    "ChangeHeaders",
    "Collection",
    "Control",
    "ControlHeaders",
    "InvalidChange",
    "MaterializedState",
    "Operation",
    "RowChange",
    "StreamDB",
    "Table",
    "parse_message",
]
