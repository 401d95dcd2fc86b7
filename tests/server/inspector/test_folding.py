"""States at any offset, folded by registered reducers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from durafold.state.reducer import replay
from durafold.state.replica import Confirmed
from durafold_server.reducers.folding import Folder, Keyframe, Keyframes
from durafold_server.reducers.registered import UnknownReducer, load_reducers
from durafold_server.service import StreamService
from durafold_server.store.memory import MemoryStore
from support.server_requests import JSON, create_request
from support.todos import Add, Todos, todo_reducer

pytestmark = pytest.mark.anyio

REDUCER = "support.todos:todo_reducer"
JSON_TYPE = {"Content-Type": JSON}


def add(text: str, n: int, client: str = "k3f9") -> dict[str, Any]:
    """An action as the SDK sends it."""
    return {
        "type": "action",
        "payload": {"type": "add", "text": text},
        "meta": {"id": f"{client}:{n}", "v": 1},
    }


async def stream_of(client: httpx.AsyncClient, name: str, messages: Sequence[Any]) -> list[str]:
    """A stream with these messages; the offset behind each."""
    await client.put(f"/v1/stream/{name}", headers=JSON_TYPE)
    replies = [
        await client.post(f"/v1/stream/{name}", headers=JSON_TYPE, content=json.dumps([message]))
        for message in messages
    ]
    return [reply.headers["stream-next-offset"] for reply in replies]


async def fold(client: httpx.AsyncClient, name: str, to: str = "now", **more: Any) -> Any:
    body = {"stream": name, "reducer": REDUCER, "to": to, **more}
    reply = await client.post("/_ui/api/fold", content=json.dumps(body))
    assert reply.status_code == 200, reply.text
    return reply.json()


def texts(state: Any) -> list[str]:
    return [item["text"] for item in state["items"]]


async def test_the_state_at_an_offset_is_that_of_all_messages_before_it(inspector: httpx.AsyncClient) -> None:
    offsets = await stream_of(inspector, "todos", [add("milk", 1), add("eggs", 2), add("tea", 3)])

    folded = await fold(inspector, "todos", offsets[1])

    assert texts(folded["state"]) == ["milk", "eggs"]
    assert texts(folded["before"]) == ["milk"]
    assert (folded["offset"], folded["position"], folded["revision"]) == (offsets[1], 2, 2)
    assert (folded["verdict"], folded["complete"]) == ("applied", True)


async def test_before_the_first_message_the_state_is_the_initial_one(inspector: httpx.AsyncClient) -> None:
    await stream_of(inspector, "begin", [add("milk", 1)])

    folded = await fold(inspector, "begin", "-1")

    assert (folded["state"], folded["before"], folded["verdict"]) == ({"items": []}, None, None)


async def test_another_initial_state_can_be_given(inspector: httpx.AsyncClient) -> None:
    await stream_of(inspector, "given", [add("eggs", 1)])

    folded = await fold(inspector, "given", initial={"items": [{"text": "milk"}]})

    assert texts(folded["state"]) == ["milk", "eggs"]


@pytest.mark.parametrize(
    ("message", "verdict", "reason"),
    [
        (add("milk", 2), "rejected", "milk is on the list already"),
        (add("milk", 1), "duplicate", None),
        ({"type": "break"}, "poison", "ZeroDivisionError: a bug in the reducer"),
        ({"type": "dance"}, "unknown", "there is no action of type 'dance'"),
    ],
)
async def test_what_was_not_applied_says_why(
    inspector: httpx.AsyncClient, message: Any, verdict: str, reason: str | None
) -> None:
    name = f"not-applied-{verdict}"
    await stream_of(inspector, name, [add("milk", 1), message])

    folded = await fold(inspector, name)

    assert texts(folded["state"]) == ["milk"]
    assert (folded["verdict"], folded["reason"]) == (verdict, reason)


async def test_faults_on_the_way_are_listed_with_their_place(inspector: httpx.AsyncClient) -> None:
    await stream_of(inspector, "faulty", [add("milk", 1), {"type": "break"}, add("eggs", 2)])

    folded = await fold(inspector, "faulty")

    assert folded["fault_count"] == 1
    assert folded["faults"] == [
        {"position": 1, "verdict": "poison", "reason": "ZeroDivisionError: a bug in the reducer"}
    ]


async def test_every_step_of_a_long_log_is_what_a_replay_gives(inspector: httpx.AsyncClient) -> None:
    actions = [Add(text=str(n)) for n in range(700)]
    body = json.dumps([add(action.text, n) for n, action in enumerate(actions)])
    await inspector.put("/v1/stream/long", headers=JSON_TYPE, content=body)
    size = [len(json.dumps(add(action.text, n))) + 1 for n, action in enumerate(actions)]
    facts = (await inspector.get("/_ui/api/stream", params={"stream": "long"})).json()
    offset = f"{facts['segments'][0]['origin']:016d}_{{:016d}}"

    places = [700, 3, 256, 257, 512, 255, 699]
    folded = [await fold(inspector, "long", offset.format(sum(size[:n]))) for n in places]

    assert [one["position"] for one in folded] == places
    assert [texts(one["state"]) for one in folded] == [
        replay(todo_reducer, Todos(), actions[:n]).texts for n in places
    ]


async def test_a_fold_that_runs_out_of_time_goes_on_when_asked_again() -> None:
    service = StreamService(MemoryStore())
    body = json.dumps([add(str(n), n) for n in range(600)]).encode()
    await service.create(create_request("slow", body, content_type=JSON))
    folder = Folder(service, max_fold_s=-1.0)
    reducer = load_reducers([REDUCER])[REDUCER]

    folded = [await folder.fold("slow", reducer, "now", None) for _ in range(3)]
    await service.aclose()

    assert [(one.confirmed.position, one.complete) for one in folded] == [
        (256, False),
        (512, False),
        (600, True),
    ]


async def test_keyframes_stay_within_their_bytes() -> None:
    service = StreamService(MemoryStore())
    body = json.dumps([add(str(n), n) for n in range(2000)]).encode()
    await service.create(create_request("big", body, content_type=JSON))
    folder = Folder(service, max_keyframe_bytes=60_000)
    reducer = load_reducers([REDUCER])[REDUCER]

    folded = await folder.fold("big", reducer, "now", None)
    again = await folder.fold("big", reducer, "now", None)
    await service.aclose()

    assert folder.kept_bytes <= 60_000
    assert len(folded.confirmed.state.items) == len(again.confirmed.state.items) == 2000


def test_a_keyframe_behind_the_last_one_is_not_kept_twice() -> None:
    kept = Keyframes([Keyframe(0, Confirmed(0), 1)])

    kept.add(Keyframe(10, Confirmed(1), 1))
    kept.add(Keyframe(10, Confirmed(1), 1))

    assert [frame.at for frame in kept.frames] == [0, 10]
    assert kept.before(10).at == 0
    assert kept.before(11).at == 10


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b'{"stream":"t"}', 400),
        (b'{"stream":"t","reducer":"no:such"}', 400),
        (b'{"stream":"t","reducer":"support.todos:todo_reducer","to":"nonsense"}', 400),
        (b'{"stream":"t","reducer":"support.todos:todo_reducer","initial":{"items":1}}', 400),
        (b'{"stream":"missing","reducer":"support.todos:todo_reducer"}', 404),
        (b'{"stream":"text","reducer":"support.todos:todo_reducer"}', 400),
    ],
)
async def test_a_wrong_question_is_answered_with_what_is_wrong(
    inspector: httpx.AsyncClient, body: bytes, status: int
) -> None:
    await inspector.put("/v1/stream/t", headers=JSON_TYPE)
    await inspector.put("/v1/stream/text", headers={"Content-Type": "text/plain"})

    reply = await inspector.post("/_ui/api/fold", content=body)

    assert reply.status_code == status, reply.text


async def test_an_offset_inside_a_message_is_refused(inspector: httpx.AsyncClient) -> None:
    (after,) = await stream_of(inspector, "inside", [add("milk", 1)])
    inside = f"{after[:-1]}{int(after[-1]) - 1}"
    body = {"stream": "inside", "reducer": REDUCER, "to": inside}

    assert (await inspector.post("/_ui/api/fold", content=json.dumps(body))).status_code == 400


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module", "no module"),
        ("support.todos", "declares no reducer"),
        ("support.todos:nothing", "has no 'nothing'"),
        ("support.todos:__all__", "neither a function"),
    ],
)
def test_a_reducer_that_cannot_be_used_stops_the_start(spec: str, message: str) -> None:
    with pytest.raises(UnknownReducer, match=message):
        load_reducers([spec])
