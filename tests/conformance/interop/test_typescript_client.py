"""The official TypeScript packages against our server, and against what our client writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from pydantic import BaseModel

from durafold.bench import clients
from durafold.blocking import DurableStream, StreamDB
from durafold.state_protocol import Collection
from support.node import install_packages, node_environment, run_node_program
from support.server import ServerProcess

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300), pytest.mark.xdist_group("conformance")]

FOLDER: Final = Path(__file__).parent


class User(BaseModel):
    id: str
    name: str


users = Collection("user", User, primary_key="id")
ann, bob = User(id="1", name="Ann"), User(id="2", name="Bob")


def test_both_sides_read_what_the_other_wrote(server: ServerProcess) -> None:
    install_packages(FOLDER)
    base = f"{server.url}/interop/{uuid4().hex}"
    with DurableStream(f"{base}/rows-of-python") as rows:
        rows.create()
        changes = (users.insert(ann), users.upsert(bob), users.delete("1"))
        rows.append_many([change.to_message() for change in changes])

    seen: dict[str, Any] = json.loads(
        run_node_program(["node", "client.mjs"], FOLDER, STREAMS_URL=base).splitlines()[-1]
    )

    assert seen["read"] == [{"n": 1}, [2, "€"]]
    assert seen["resumed"] == [3]
    assert seen["long-poll"] == seen["sse"] == [*range(20), "end"]
    assert seen["rows"] == {"2": {"id": "2", "name": "Bob"}}
    with DurableStream(f"{base}/sse") as written:
        assert written.read_json() == [*range(20), "end"]
        assert written.head().closed
    with DurableStream(f"{base}/rows-of-node") as written, StreamDB(written, users) as db:
        db.await_txid("t", timeout_s=30)
        assert db[users].rows() == [ann, bob]


def test_it_is_measured_beside_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_packages(FOLDER)
    monkeypatch.setenv("PATH", node_environment()["PATH"])

    assert clients.main(["--quick", "--rounds", "1", "--typescript", str(FOLDER)]) == 0

    assert "| durafold | durafold.blocking |" in (table := capsys.readouterr().out)
    assert "| npm client 0." in table
