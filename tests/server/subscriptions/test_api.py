"""The subscription API as clients meet it (PROTOCOL §6, §7.2), on every store."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import pytest

from durafold_server.store.base import StreamStore
from durafold_server.subscriptions import manager
from durafold_server.subscriptions.courier import Answer
from support.server_requests import ROOT, read_request
from support.server_stores import ManualClock
from support.subscriptions import BASE_URL, DONE, WEBHOOK_URL, Api, FakeWebhook, acks, api_on
from support.waiting import PATIENCE_S, eventually, settled

pytestmark = pytest.mark.anyio

ZERO = "0000000000000000_0000000000000000"


async def announced(api: Api, count: int) -> list[dict[str, Any]]:
    """The events in the wake stream, once there are that many."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            data = (await api.service.read(read_request("wake/pool"))).data
            # One event a line, or each followed by a comma in a JSON stream.
            events: list[dict[str, Any]] = [json.loads(line.rstrip(b",")) for line in data.splitlines()]
            if len(events) >= count:
                return events
            await anyio.sleep(0.005)


async def test_a_new_subscription_is_shown_whole(api: Api) -> None:
    answer = await api.subscribe(streams=["manual/a"], lease_ttl_ms=5000, description="for tests")

    signing = answer.body["webhook"].pop("signing")
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == {
        "id": "sub",
        "subscription_id": "sub",
        "type": "webhook",
        "pattern": "events/*",
        "streams": [{"path": "manual/a", "link_type": "explicit", "acked_offset": ZERO}],
        "webhook": {"url": WEBHOOK_URL},
        "wake_stream": None,
        "lease_ttl_ms": 5000,
        "created_at": "2027-01-15T08:00:00.000Z",
        "status": "active",
        "description": "for tests",
    }
    assert signing == {
        "alg": "ed25519",
        "kid": signing["kid"],
        "jwks_url": f"{BASE_URL}/__ds/jwks.json",
    }


async def test_what_was_created_can_be_read(api: Api) -> None:
    created = await api.subscribe()

    assert await api.get() == created.body


async def test_a_subscription_without_options_has_a_lease_of_thirty_seconds(api: Api) -> None:
    assert (await api.subscribe()).body["lease_ttl_ms"] == 30_000


async def test_creating_again_with_the_same_configuration_confirms(api: Api) -> None:
    await api.subscribe(streams=["b", "a"])

    confirmed = await api.subscribe(streams=["/a", "b", "%61"])

    assert confirmed.status == 200
    assert confirmed.body == await api.get()


@pytest.mark.parametrize(
    "change",
    [
        {"pattern": "events/**"},
        {"streams": ["manual/a"]},
        {"webhook": {"url": "https://worker.test/other"}},
        {"lease_ttl_ms": 30_001},
        {"description": "another"},
        {"type": "pull-wake", "wake_stream": "wake/pool"},
    ],
)
async def test_creating_again_with_another_configuration_is_a_conflict(
    api: Api, change: dict[str, object]
) -> None:
    await api.subscribe()

    refused = await api.subscribe("sub", **change)

    assert (refused.status, refused.code) == (409, "SUBSCRIPTION_ALREADY_EXISTS")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(b"[" * 100_000, id="deeply nested"),
        pytest.param([], id="no object"),
        pytest.param({}, id="no type"),
        pytest.param({"type": "mail", "pattern": "a"}, id="unknown type"),
        pytest.param({"type": "webhook", "webhook": {"url": WEBHOOK_URL}}, id="no streams"),
        pytest.param({"type": "webhook", "webhook": {"url": WEBHOOK_URL}, "streams": []}, id="empty streams"),
        pytest.param({"type": "webhook", "pattern": "a"}, id="no webhook"),
        pytest.param({"type": "webhook", "pattern": "a", "webhook": {}}, id="no URL"),
        pytest.param({"type": "pull-wake", "pattern": "a"}, id="no wake stream"),
        pytest.param({"type": "pull-wake", "pattern": "a", "wake_stream": ""}, id="empty wake stream"),
        pytest.param({"type": "pull-wake", "streams": ["__ds/a"], "wake_stream": "w"}, id="reserved path"),
        pytest.param({"type": "pull-wake", "streams": [""], "wake_stream": "w"}, id="empty path"),
        pytest.param({"type": "pull-wake", "streams": ["a/../b"], "wake_stream": "w"}, id="dots"),
        pytest.param({"type": "pull-wake", "streams": [1], "wake_stream": "w"}, id="path of another type"),
        pytest.param({"type": "pull-wake", "pattern": "a*", "wake_stream": "w"}, id="bad pattern"),
        pytest.param(
            {"type": "pull-wake", "pattern": "a", "wake_stream": "w", "lease_ttl_ms": 999}, id="short"
        ),
        pytest.param(
            {"type": "pull-wake", "pattern": "a", "wake_stream": "w", "lease_ttl_ms": 600_001}, id="long"
        ),
        pytest.param(
            {"type": "pull-wake", "pattern": "a", "wake_stream": "w", "lease_ttl_ms": "1000"},
            id="lease as text",
        ),
        pytest.param(
            {"type": "pull-wake", "pattern": "a", "wake_stream": "w", "lease_ttl_ms": True},
            id="lease as a truth",
        ),
        pytest.param(
            {"type": "pull-wake", "pattern": "a", "wake_stream": "w", "description": "x" * 4097},
            id="long text",
        ),
    ],
)
async def test_a_malformed_request_is_refused(api: Api, body: object) -> None:
    refused = await api.request("PUT", "subscriptions/sub", body)

    assert (refused.status, refused.code) == (400, "INVALID_REQUEST")
    assert (await api.request("GET", "subscriptions/sub")).status == 404


async def test_an_unsafe_webhook_is_refused(api: Api) -> None:
    refused = await api.subscribe(webhook={"url": "https://10.0.0.1/hook"})

    assert (refused.status, refused.code) == (400, "WEBHOOK_URL_REJECTED")


async def test_where_webhooks_are_off_creating_one_says_how_to_turn_them_on(
    store: StreamStore, clock: ManualClock
) -> None:
    async with api_on(store, clock) as api:
        refused = await api.subscribe()
        keys = await api.request("GET", "jwks.json")

    assert (refused.status, refused.code) == (400, "WEBHOOK_URL_REJECTED")
    assert "--webhooks" in refused.body["error"]["message"]
    assert keys.status == 404


async def test_where_webhooks_are_off_pull_wakes_work(store: StreamStore, clock: ManualClock) -> None:
    async with api_on(store, clock) as api:
        await api.create("wake/pool")
        await api.subscribe_pull()
        await api.create("events/a", b"data")

        assert [event["stream"] for event in await announced(api, 1)] == ["events/a"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "subscriptions/sub", "PUT, GET, DELETE"),
        ("GET", "subscriptions/sub/streams", "POST"),
        ("PUT", "subscriptions/sub/streams/a", "DELETE"),
        ("GET", "subscriptions/sub/claim", "POST"),
        ("GET", "subscriptions/sub/ack", "POST"),
        ("GET", "subscriptions/sub/callback", "POST"),
        ("GET", "subscriptions/sub/release", "POST"),
        ("DELETE", "jwks.json", "GET"),
    ],
)
async def test_a_method_that_a_path_does_not_have_is_refused(
    api: Api, method: str, path: str, allowed: str
) -> None:
    refused = await api.request(method, path)

    assert (refused.status, refused.code) == (405, "METHOD_NOT_ALLOWED")
    assert refused.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path",
    ["", "other", "subscriptions", "subscriptions/sub/other", "subscriptions/sub/claim/x", "jwks.json/x"],
)
async def test_a_path_that_means_nothing_is_not_found(api: Api, path: str) -> None:
    refused = await api.request("GET", path)

    assert (refused.status, refused.code) == (404, "NOT_FOUND")


@pytest.mark.parametrize("name", ["", "%00", "a%0Ab", "%FF", "x" * 257])
async def test_an_id_that_nobody_can_read_is_refused(api: Api, name: str) -> None:
    refused = await api.request("GET", f"subscriptions/{name}")

    assert (refused.status, refused.code) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("name", ["a%2Fb", "caf%C3%A9", "a%20b", "..", "%25"])
async def test_an_id_may_hold_any_printable_character(api: Api, fake_webhook: FakeWebhook, name: str) -> None:
    assert (await api.subscribe(name)).status == 201

    await api.create("events/a", b"data")

    callback_url = (await fake_webhook.notification())["callback_url"]
    assert callback_url == f"{BASE_URL}/__ds/subscriptions/{name}/callback"


async def test_a_head_request_is_answered_like_a_get(api: Api) -> None:
    await api.subscribe()

    assert (await api.request("HEAD", "subscriptions/sub")).status == 200


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("claim", {"worker": "w"}),
        ("ack", {"wake_id": "w", "generation": 1}),
        ("callback", {"wake_id": "w", "generation": 1}),
        ("release", {"wake_id": "w", "generation": 1}),
        ("streams", {"streams": ["a"]}),
    ],
)
async def test_an_unknown_subscription_is_not_found(api: Api, action: str, body: object) -> None:
    refused = await api.post(action, body, token="any")

    assert (refused.status, refused.code) == (404, "SUBSCRIPTION_NOT_FOUND")


async def test_subscriptions_are_bounded_in_number(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "MAX_SUBSCRIPTIONS", 1)
    await api.subscribe("one")

    refused = await api.subscribe("two")
    await api.request("DELETE", "subscriptions/one")

    assert (refused.status, refused.code) == (400, "INVALID_REQUEST")
    assert (await api.subscribe("two")).status == 201


async def test_explicit_streams_are_bounded_in_number(api: Api) -> None:
    refused = await api.subscribe(streams=[f"s/{number}" for number in range(10_001)])

    assert (refused.status, refused.code) == (400, "INVALID_REQUEST")
    assert (await api.subscribe()).status == 201


async def test_deleting_is_idempotent(api: Api) -> None:
    await api.subscribe()

    assert (await api.request("DELETE", "subscriptions/sub")).status == 204
    assert (await api.request("DELETE", "subscriptions/sub")).status == 204
    assert (await api.request("GET", "subscriptions/sub")).code == "SUBSCRIPTION_NOT_FOUND"


async def test_a_deleted_subscription_is_told_nothing_more(api: Api, fake_webhook: FakeWebhook) -> None:
    await api.subscribe()
    await api.request("DELETE", "subscriptions/sub")

    await api.create("events/a", b"data")

    await settled(lambda: not fake_webhook.sent)


# Which streams are linked, and where.


async def test_existing_streams_that_match_are_linked_at_their_tails(api: Api) -> None:
    tails = {path: await api.create(path, b"data") for path in ("events/a", "events/b")}
    await api.create("other/a", b"data")
    await api.create("events/a/deeper", b"data")

    await api.subscribe()

    assert await api.cursors() == tails


async def test_a_stream_created_later_is_linked_at_its_beginning(api: Api, fake_webhook: FakeWebhook) -> None:
    await api.subscribe()

    tail = await api.create("events/a", b"data")

    [stream] = (await fake_webhook.notification())["streams"]
    assert stream == {
        "path": "events/a",
        "link_type": "glob",
        "acked_offset": f"{tail[:17]}{0:016d}",
        "tail_offset": tail,
        "has_pending": True,
    }


async def test_an_expired_stream_is_not_linked(api: Api, clock: ManualClock) -> None:
    await api.create("events/a", b"data", stream_ttl="10")
    clock.now_us += 11_000_000

    await api.subscribe(streams=["events/a"])

    assert await api.cursors() == {"events/a": ZERO}


async def test_paths_are_written_as_in_urls_and_may_hold_other_characters_plainly(api: Api) -> None:
    tail = await api.create("events/caf%C3%A9", b"data")

    await api.subscribe(pattern=None, streams=["events/café", "events/caf%C3%A9", "a b", "50%25"])

    assert await api.cursors() == {"50%25": ZERO, "a%20b": ZERO, "events/caf%C3%A9": tail}


async def test_explicit_streams_come_and_go(api: Api) -> None:
    tail = await api.create("manual/a", b"data")
    await api.subscribe()

    added = await api.post("streams", {"streams": ["manual/a", "manual/b"]})
    assert added.status == 204
    assert await api.cursors() == {"manual/a": tail, "manual/b": ZERO}

    removed = await api.request("DELETE", "subscriptions/sub/streams/manual%2Fa")
    assert removed.status == 204
    assert (await api.request("DELETE", "subscriptions/sub/streams/manual/a")).status == 204
    assert await api.cursors() == {"manual/b": ZERO}


@pytest.mark.parametrize("encoded", ["a%252Fb", "a%2fb"])
async def test_a_slash_within_a_name_is_encoded_twice(api: Api, encoded: str) -> None:
    await api.subscribe(streams=["a%2Fb"])

    await api.request("DELETE", f"subscriptions/sub/streams/{encoded}")

    assert ("a%2Fb" in await api.cursors()) == (encoded == "a%2fb")


async def test_adding_a_linked_stream_again_changes_nothing(api: Api) -> None:
    tail = await api.create("manual/a", b"data")
    await api.subscribe(streams=["manual/a"])
    await api.append("manual/a")

    await api.post("streams", {"streams": ["manual/a"]})

    assert await api.cursors() == {"manual/a": tail}


async def test_an_explicit_link_hides_a_glob_link_and_gives_way_to_it(api: Api) -> None:
    await api.create("events/a", b"data")
    await api.subscribe()

    await api.post("streams", {"streams": ["events/a"]})
    assert [link["link_type"] for link in (await api.get())["streams"]] == ["explicit"]

    await api.request("DELETE", "subscriptions/sub/streams/events%2Fa")
    assert [link["link_type"] for link in (await api.get())["streams"]] == ["glob"]


async def test_a_subscription_watches_its_own_wake_stream_only_if_told_so(api: Api) -> None:
    tail = await api.create("wake/pool")
    await api.subscribe_pull(pattern="**")
    assert await api.cursors() == {}

    await api.post("streams", {"streams": ["wake/pool"]})

    assert await api.cursors() == {"wake/pool": tail}


@pytest.mark.parametrize("body", [{}, {"streams": "a"}, {"streams": [""]}, {"streams": ["__ds/x"]}])
async def test_malformed_streams_are_refused(api: Api, body: object) -> None:
    await api.subscribe()

    assert (await api.post("streams", body)).code == "INVALID_REQUEST"


async def test_changing_explicit_streams_leaves_the_configuration_as_it_was(api: Api) -> None:
    await api.subscribe()
    await api.post("streams", {"streams": ["manual/a"]})

    assert (await api.subscribe()).status == 200


async def test_data_in_an_explicit_stream_added_later_wakes(api: Api, fake_webhook: FakeWebhook) -> None:
    await api.create("manual/a", b"data")
    await api.subscribe()
    await api.post("streams", {"streams": ["manual/a"]})

    await api.append("manual/a")

    assert [stream["path"] for stream in (await fake_webhook.notification())["streams"]] == ["manual/a"]


async def test_data_in_a_stream_taken_back_does_not_wake(api: Api, fake_webhook: FakeWebhook) -> None:
    await api.create("manual/a", b"data")
    await api.subscribe(streams=["manual/a"])
    await api.request("DELETE", "subscriptions/sub/streams/manual%2Fa")

    await api.append("manual/a")

    await settled(lambda: not fake_webhook.sent)


async def test_the_link_of_a_deleted_stream_goes_with_it(api: Api) -> None:
    await api.create("events/a", b"data")
    await api.subscribe()

    await api.service.delete("events/a")

    assert await api.cursors() == {}


# Pull-wake.


async def test_pending_data_is_announced_once_in_the_wake_stream(api: Api, clock: ManualClock) -> None:
    await api.create("wake/pool")
    await api.subscribe_pull()

    await api.create("events/a", b"data")
    await api.append("events/a")
    await api.create("events/b", b"data")

    [event] = await announced(api, 1)
    assert event == {
        "type": "wake",
        "subscription_id": "sub",
        "stream": "events/a",
        "generation": 1,
        "ts": clock.now_us // 1000,
    }


async def test_a_wake_event_in_a_json_stream_is_a_message(api: Api) -> None:
    await api.create("wake/pool", content_type="application/json")
    await api.subscribe_pull()

    await api.create("events/a", b"data")

    [event] = await announced(api, 1)
    assert event["type"] == "wake"


async def test_a_claim_names_pending_streams_and_holds_for_the_lease(api: Api) -> None:
    idle = await api.create("events/idle", b"data")
    await api.create("wake/pool")
    await api.subscribe_pull(lease_ttl_ms=2000)
    tail = await api.create("events/a", b"data")

    claim = await api.claim()

    assert claim.status == 200
    assert claim.body == {
        "wake_id": claim.body["wake_id"],
        "generation": 1,
        "token": claim.body["token"],
        "streams": [
            {
                "path": "events/a",
                "link_type": "glob",
                "acked_offset": f"{tail[:17]}{0:016d}",
                "tail_offset": tail,
                "has_pending": True,
            },
            {
                "path": "events/idle",
                "link_type": "glob",
                "acked_offset": idle,
                "tail_offset": idle,
                "has_pending": False,
            },
        ],
        "lease_ttl_ms": 2000,
    }


async def test_a_claim_right_after_an_append_finds_it(api: Api) -> None:
    await api.subscribe_pull()
    await api.create("events/a", b"data")

    assert (await api.claim()).status == 200


async def test_a_claimed_subscription_names_its_holder(api: Api) -> None:
    await api.subscribe_pull()
    await api.create("events/a", b"data")
    await api.claim("worker-1")

    refused = await api.claim("worker-2")

    assert (refused.status, refused.code) == (409, "ALREADY_CLAIMED")
    assert refused.body["error"]["current_holder"] == "worker-1"
    assert refused.body["error"]["generation"] == 1


async def test_without_pending_data_there_is_nothing_to_claim(api: Api) -> None:
    await api.create("events/a", b"data")
    await api.subscribe_pull()

    refused = await api.claim()

    assert (refused.status, refused.code) == (409, "NO_PENDING_WORK")


async def test_expired_data_cannot_be_claimed(api: Api, clock: ManualClock) -> None:
    await api.subscribe_pull()
    await api.create("events/a", b"data", stream_ttl="10")
    clock.now_us += 11_000_000

    assert (await api.claim()).code == "NO_PENDING_WORK"


@pytest.mark.parametrize("body", [{}, {"worker": ""}, {"worker": 1}, {"worker": "x" * 257}, b"no JSON"])
async def test_a_claim_without_a_worker_s_name_is_refused(api: Api, body: object) -> None:
    await api.subscribe_pull()

    assert (await api.post("claim", body)).code == "INVALID_REQUEST"


async def test_acknowledging_moves_cursors_and_done_ends_the_wake(api: Api) -> None:
    await api.subscribe_pull()
    tail = await api.create("events/a", b"data")
    claim = (await api.claim()).body

    ack = await api.post("ack", acks(claim, {"events/a": tail}, done=True), token=claim["token"])

    assert (ack.status, ack.body) == (200, {"ok": True, "next_wake": False})
    assert await api.cursors() == {"events/a": tail}
    assert (await api.claim()).code == "NO_PENDING_WORK"


async def test_done_with_data_left_issues_the_next_wake(api: Api) -> None:
    await api.create("wake/pool")
    await api.subscribe_pull()
    tail = await api.create("events/a", b"data")
    claim = (await api.claim()).body
    await api.append("events/a")

    ack = await api.post("ack", acks(claim, {"events/a": tail}, done=True), token=claim["token"])

    assert ack.body == {"ok": True, "next_wake": True}
    assert (await announced(api, 1))[-1]["generation"] == 2


async def test_acknowledging_without_done_keeps_the_claim_alive(api: Api, clock: ManualClock) -> None:
    await api.subscribe_pull(lease_ttl_ms=1000)
    tail = await api.create("events/a", b"data")
    claim = (await api.claim()).body
    clock.now_us += 900_000

    ack = await api.post("ack", acks(claim, {"events/a": tail}), token=claim["token"])
    clock.now_us += 900_000

    assert ack.body == {"ok": True, "next_wake": False}
    assert await api.cursors() == {"events/a": tail}
    assert (await api.claim("worker-2")).code == "ALREADY_CLAIMED"


async def test_after_its_lease_a_worker_is_fenced_and_another_may_claim(api: Api, clock: ManualClock) -> None:
    await api.subscribe_pull(lease_ttl_ms=1000)
    tail = await api.create("events/a", b"data")
    claim = (await api.claim()).body
    clock.now_us += 1_000_000

    late = await api.post("ack", acks(claim, {"events/a": tail}, done=True), token=claim["token"])
    other = await api.claim("worker-2")

    assert (late.status, late.code) == (409, "FENCED")
    assert (other.status, other.body["generation"]) == (200, 2)
    assert other.body["wake_id"] != claim["wake_id"]
    assert (await api.cursors())["events/a"] != tail


async def test_an_expired_lease_is_announced_anew(api: Api, clock: ManualClock) -> None:
    await api.create("wake/pool")
    await api.subscribe_pull(lease_ttl_ms=1000)
    await api.create("events/a", b"data")
    await announced(api, 1)
    await api.claim()

    clock.now_us += 1_000_000
    await api.look_again()

    assert [event["generation"] for event in await announced(api, 2)] == [1, 2]


async def test_after_a_lease_expired_data_is_not_claimed_again(api: Api, clock: ManualClock) -> None:
    await api.subscribe_pull(lease_ttl_ms=1000)
    await api.create("events/a", b"data", stream_ttl="10")
    await api.claim()
    clock.now_us += 11_000_000

    assert (await api.claim("worker-2")).code == "NO_PENDING_WORK"


async def test_a_released_wake_is_announced_anew(api: Api) -> None:
    await api.create("wake/pool")
    await api.subscribe_pull()
    await api.create("events/a", b"data")
    await announced(api, 1)
    claim = (await api.claim()).body

    released = await api.post("release", acks(claim), token=claim["token"])

    assert (released.status, released.body) == (204, None)
    assert [event["generation"] for event in await announced(api, 2)] == [1, 2]
    assert (await api.post("release", acks(claim), token=claim["token"])).code == "FENCED"


async def test_a_wake_stream_that_does_not_exist_is_waited_for(api: Api, clock: ManualClock) -> None:
    await api.subscribe_pull()
    await api.create("events/a", b"data")

    await api.until_status("failed")
    await api.create("wake/pool")
    clock.now_us += 60_000_000
    await api.look_again()

    assert [event["generation"] for event in await announced(api, 1)] == [1]
    await api.until_status("active")


async def test_a_wake_stream_that_is_closed_counts_as_a_failure(api: Api) -> None:
    await api.create("wake/pool", stream_closed="true")
    await api.subscribe_pull()

    await api.create("events/a", b"data")

    await api.until_status("failed")


@pytest.mark.parametrize(
    "offset",
    [
        pytest.param("-1", id="the beginning"),
        pytest.param("now", id="the tail by name"),
        pytest.param("0000000000000001_0000000000000001", id="of no stream"),
        pytest.param(f"{'9' * 16}_{'9' * 16}", id="beyond"),
    ],
)
async def test_an_offset_that_cannot_be_acknowledged_is_refused_with_all_others(
    api: Api, offset: str
) -> None:
    await api.subscribe_pull()
    tail = await api.create("events/a", b"data")
    await api.create("events/b", b"data")
    before = await api.cursors()
    claim = (await api.claim()).body

    body = acks(claim, {"events/a": tail, "events/b": offset}, done=True)
    refused = await api.post("ack", body, token=claim["token"])

    assert (refused.status, refused.code) == (409, "INVALID_OFFSET")
    assert await api.cursors() == before
    assert (await api.claim("worker-2")).code == "ALREADY_CLAIMED"


async def test_a_fork_is_acknowledged_from_where_it_branched_off(api: Api) -> None:
    await api.subscribe_pull()
    branch = await api.create("source", b"data")
    await api.create("events/fork", stream_forked_from=f"{ROOT}/source")
    beyond = await api.append("source", b"more")
    tail = await api.append("events/fork", b"more")
    claim = (await api.claim()).body

    of_source = await api.post("ack", acks(claim, {"events/fork": beyond}), token=claim["token"])
    own = await api.post("ack", acks(claim, {"events/fork": tail}, done=True), token=claim["token"])

    [stream] = claim["streams"]
    assert (stream["acked_offset"], stream["tail_offset"]) == (branch, tail)
    assert of_source.code == "INVALID_OFFSET"
    assert own.status == 200
    assert await api.cursors() == {"events/fork": tail}


async def test_an_existing_fork_is_linked_at_its_tail(api: Api) -> None:
    branch = await api.create("source", b"data")
    await api.create("events/fork", stream_forked_from=f"{ROOT}/source")

    await api.subscribe()

    assert await api.cursors() == {"events/fork": branch}


async def test_of_two_offsets_for_one_stream_the_later_counts(api: Api) -> None:
    await api.subscribe_pull()
    first = await api.create("events/a", b"data")
    second = await api.append("events/a")
    claim = (await api.claim()).body
    body = acks(claim, {"events/a": second})
    body["acks"].append({"stream": "events/a", "offset": first})

    await api.post("ack", body, token=claim["token"])

    assert await api.cursors() == {"events/a": second}


@pytest.mark.parametrize("body", [{}, {"wake_id": "w"}, {"wake_id": 1, "generation": 1}, b"no JSON"])
@pytest.mark.parametrize("action", ["ack", "release"])
async def test_a_malformed_acknowledgement_is_refused(api: Api, action: str, body: object) -> None:
    await api.subscribe_pull()

    assert (await api.post(action, body, token="any")).code == "INVALID_REQUEST"


@pytest.mark.parametrize("action", ["ack", "release"])
async def test_without_a_token_nothing_is_acknowledged(api: Api, action: str) -> None:
    await api.subscribe_pull()
    await api.create("events/a", b"data")
    claim = (await api.claim()).body

    missing = await api.post(action, acks(claim))
    forged = await api.post(action, acks(claim), token=claim["token"][:-2] + "xx")

    assert (missing.status, missing.code) == (401, "TOKEN_INVALID")
    assert (forged.status, forged.code) == (401, "TOKEN_INVALID")
    assert missing.headers["www-authenticate"] == "Bearer"


async def test_another_subscription_s_token_is_invalid(api: Api) -> None:
    await api.subscribe_pull("one")
    await api.subscribe_pull("two")
    await api.create("events/a", b"data")
    one, two = (await api.claim(name="one")).body, (await api.claim(name="two")).body

    refused = await api.post("ack", acks(two), name="two", token=one["token"])

    assert (refused.status, refused.code) == (401, "TOKEN_INVALID")


async def test_a_token_expires_after_a_day(api: Api, clock: ManualClock) -> None:
    await api.subscribe_pull()
    await api.create("events/a", b"data")
    claim = (await api.claim()).body
    clock.now_us += 86_400_000_000

    refused = await api.post("ack", acks(claim), token=claim["token"])

    assert (refused.status, refused.code) == (401, "TOKEN_EXPIRED")


async def test_another_generation_than_the_token_s_is_fenced(api: Api) -> None:
    await api.subscribe_pull()
    await api.create("events/a", b"data")
    claim = (await api.claim()).body

    other_generation = {**acks(claim), "generation": 2}
    other_wake = {**acks(claim), "wake_id": "w_other"}

    assert (await api.post("ack", other_generation, token=claim["token"])).code == "FENCED"
    assert (await api.post("ack", other_wake, token=claim["token"])).code == "FENCED"


async def test_a_recreated_subscription_fences_the_workers_of_its_predecessor(api: Api) -> None:
    await api.subscribe_pull()
    tail = await api.create("events/a", b"data")
    old = (await api.claim()).body
    await api.request("DELETE", "subscriptions/sub")
    await api.subscribe_pull()
    await api.append("events/a")
    new = (await api.claim()).body

    late = await api.post("ack", acks(old, {"events/a": tail}, done=True), token=old["token"])

    assert (late.status, late.code) == (409, "FENCED")
    assert new["generation"] == old["generation"]
    assert (await api.claim("worker-2")).code == "ALREADY_CLAIMED"


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("claim", {"worker": "w"}),
        ("ack", {"wake_id": "w", "generation": 1}),
        ("release", {"wake_id": "w", "generation": 1}),
    ],
)
async def test_a_webhook_subscription_has_nothing_to_claim(api: Api, action: str, body: object) -> None:
    await api.subscribe()

    refused = await api.post(action, body, token="any")

    assert (refused.status, refused.code) == (400, "INVALID_REQUEST")
    assert "pull-wake" in refused.body["error"]["message"]


async def test_a_pull_wake_subscription_has_no_callback(api: Api) -> None:
    await api.subscribe_pull()

    refused = await api.post("callback", {"wake_id": "w", "generation": 1}, token="any")

    assert (refused.status, refused.code) == (400, "INVALID_REQUEST")


async def test_concurrent_claims_have_one_winner(api: Api) -> None:
    await api.subscribe_pull()
    await api.create("events/a", b"data")

    answers = await asyncio.gather(*(api.claim(f"worker-{number}") for number in range(20)))

    assert sorted(answer.status for answer in answers) == [200] + [409] * 19


async def test_concurrent_creations_have_one_that_is_new(api: Api) -> None:
    answers = await asyncio.gather(*(api.subscribe() for _ in range(5)))

    assert sorted(answer.status for answer in answers) == [200] * 4 + [201]


async def test_appends_during_creation_are_not_missed(api: Api, fake_webhook: FakeWebhook) -> None:
    for number in range(20):
        await api.create(f"events/{number}")
    fake_webhook.default = Answer(200, DONE)

    async def append_everywhere() -> None:
        for number in range(20):
            await api.append(f"events/{number}")

    await asyncio.gather(api.subscribe(streams=[f"events/{n}" for n in range(10)]), append_everywhere())
    cursors = await api.cursors()
    tails = {path: await api.tail(path) for path in cursors}

    def all_told() -> bool:
        told = {s["path"]: s["tail_offset"] for body in fake_webhook.notifications for s in body["streams"]}
        return {**cursors, **told} == tails

    assert len(cursors) == 20
    await eventually(all_told)
