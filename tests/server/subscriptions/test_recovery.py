"""What a restart finds, and what a failing store leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from durafold_server.clock import Clock, system_clock
from durafold_server.store.base import StoreFailure, StreamStore
from durafold_server.store.memory import MemoryStore
from durafold_server.subscriptions.courier import Answer
from support.server_requests import read_request
from support.server_stores import ManualClock
from support.subscriptions import DONE, Api, FakeWebhook, acks, api_on
from support.waiting import eventually, settled

pytestmark = pytest.mark.anyio


async def test_a_subscription_survives_whole(store: StreamStore, clock: ManualClock) -> None:
    async with api_on(store, clock, FakeWebhook()) as api:
        await api.create("events/a", b"data")
        created = await api.subscribe(streams=["manual/a"], description="kept", lease_ttl_ms=2000)

    async with api_on(store, clock, FakeWebhook()) as api:
        assert await api.get() == created.body
        confirmed = await api.subscribe(streams=["manual/a"], description="kept", lease_ttl_ms=2000)

    assert confirmed.status == 200


async def test_a_deleted_subscription_stays_deleted(store: StreamStore, clock: ManualClock) -> None:
    async with api_on(store, clock, FakeWebhook()) as api:
        await api.create("events/a", b"data")
        await api.subscribe()
        await api.request("DELETE", "subscriptions/sub")

    async with api_on(store, clock, FakeWebhook()) as api:
        assert (await api.request("GET", "subscriptions/sub")).status == 404


async def test_nothing_is_left_in_the_store_of_a_deleted_subscription(
    store: StreamStore, clock: ManualClock
) -> None:
    async with api_on(store, clock, FakeWebhook()) as api:
        await api.create("events/a", b"data")
        await api.subscribe(streams=["manual/a"])
        await api.request("DELETE", "subscriptions/sub")

    async with api_on(store, clock, FakeWebhook()):
        kept = await store.records("subscriptions/")

    assert sorted(kept) == ["subscriptions/secret/signing", "subscriptions/secret/token"]


async def test_cursors_and_memberships_survive(store: StreamStore, clock: ManualClock) -> None:
    async with api_on(store, clock, FakeWebhook()) as api:
        await api.subscribe_pull(streams=["manual/a", "manual/b"])
        await api.post("streams", {"streams": ["manual/c"]})
        await api.request("DELETE", "subscriptions/sub/streams/manual%2Fa")
        await api.create("events/untouched", b"data")
        tail = await api.create("events/a", b"data")
        claim = (await api.claim()).body
        await api.post("ack", acks(claim, {"events/a": tail}), token=claim["token"])
        before = await api.get()

    async with api_on(store, clock, FakeWebhook()) as api:
        after = await api.get()

    assert after == before


async def test_data_that_came_before_the_end_wakes_after_the_start(
    store: StreamStore, clock: ManualClock, fake_webhook: FakeWebhook
) -> None:
    async with api_on(store, clock) as api:  # webhooks are off meanwhile, so nobody is told
        await api.create("events/old", b"data")
        await subscribed_to_webhook(store, clock)
    async with api_on(store, clock) as api:
        await api.append("events/old")
        await api.create("events/new", b"data")

    async with api_on(store, clock, fake_webhook):
        body = await fake_webhook.notification()

    assert {stream["path"] for stream in body["streams"]} == {"events/old", "events/new"}
    assert all(stream["has_pending"] for stream in body["streams"])


async def test_webhook_subscriptions_sleep_where_webhooks_are_off(
    store: StreamStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await subscribed_to_webhook(store, clock)

    async with api_on(store, clock) as api:
        await api.create("events/a", b"data")
        shown = await api.get()

    assert "webhook subscriptions sleep: 1" in caplog.text
    assert shown["webhook"] == {"url": "https://worker.test/hook"}


async def test_a_retry_keeps_its_schedule_and_its_wake(
    store: StreamStore, clock: ManualClock, fake_webhook: FakeWebhook
) -> None:
    fake_webhook.default = Answer(500, b"")
    async with api_on(store, clock, fake_webhook) as api:
        await api.subscribe()
        await api.create("events/a", b"data")
        first = await fake_webhook.notification(1)
        await api.until_status("failed")

    async with api_on(store, clock, fake_webhook) as api:
        assert (await api.get())["status"] == "failed"
        await settled(lambda: len(fake_webhook.sent) == 1)

        clock.now_us += 1_200_000
        await api.look_again()
        second = await fake_webhook.notification(2)

    assert (second["wake_id"], second["generation"]) == (first["wake_id"], first["generation"])


async def test_the_pauses_go_on_growing_after_a_restart(
    store: StreamStore, clock: ManualClock, fake_webhook: FakeWebhook
) -> None:
    fake_webhook.default = Answer(500, b"")
    async with api_on(store, clock, fake_webhook) as api:
        await api.subscribe()
        await api.create("events/a", b"data")
        await api.until_status("failed")

    async with api_on(store, clock, fake_webhook) as api:
        clock.now_us += 1_200_000
        await api.look_again()
        await fake_webhook.notification(2)
        await eventually(lambda: is_kept(store, "subscriptions/delivery/", b'"failures":2'))
        clock.now_us += 1_500_000  # beyond the first pause, within the second
        await api.look_again()
        await settled(lambda: len(fake_webhook.sent) == 2)

        clock.now_us += 1_000_000
        await api.look_again()
        await fake_webhook.notification(3)


async def test_a_request_that_was_under_way_is_sent_again_at_once(
    store: StreamStore, clock: ManualClock, fake_webhook: FakeWebhook
) -> None:
    fake_webhook.answers.append(asyncio.get_running_loop().create_future())
    async with api_on(store, clock, fake_webhook) as api:
        await api.subscribe()
        tail = await api.create("events/a", b"data")
        first = await fake_webhook.notification(1)

    async with api_on(store, clock, fake_webhook) as api:
        second = await fake_webhook.notification(2)
        done = acks(first, {"events/a": tail}, done=True)
        callback = await api.post("callback", done, token=first["callback_token"])

    assert (second["wake_id"], second["generation"]) == (first["wake_id"], first["generation"])
    assert callback.status == 200


async def test_a_claim_holds_and_its_token_stays_valid(store: StreamStore, clock: ManualClock) -> None:
    async with api_on(store, clock) as api:
        await api.subscribe_pull()
        tail = await api.create("events/a", b"data")
        claim = (await api.claim()).body

    async with api_on(store, clock) as api:
        refused = await api.claim("worker-2")
        done = await api.post("ack", acks(claim, {"events/a": tail}, done=True), token=claim["token"])

    assert refused.body["error"]["current_holder"] == "worker-1"
    assert (done.status, done.body) == (200, {"ok": True, "next_wake": False})


async def test_a_lease_that_ended_meanwhile_is_over(store: StreamStore, clock: ManualClock) -> None:
    async with api_on(store, clock) as api:
        await api.subscribe_pull(lease_ttl_ms=1000)
        await api.create("events/a", b"data")
        claim = (await api.claim()).body
    clock.now_us += 1_000_000

    async with api_on(store, clock) as api:
        late = await api.post("ack", acks(claim, done=True), token=claim["token"])
        again = await api.claim("worker-2")

    assert late.code == "FENCED"
    assert (again.status, again.body["generation"]) == (200, 2)


async def test_an_announced_wake_is_not_announced_again(store: StreamStore, clock: ManualClock) -> None:
    async with api_on(store, clock) as api:
        await api.create("wake/pool")
        await api.subscribe_pull()
        await api.create("events/a", b"data")
        await eventually_data(api)
        # Noting that it was announced comes after it; a claim comes after both.
        assert (await api.claim()).status == 200

    async with api_on(store, clock) as api:
        await asyncio.sleep(0.02)
        view = await api.service.read(read_request("wake/pool"))

    assert view.data.count(b'"type":"wake"') == 1


async def test_the_signing_key_stays_the_same(store: StreamStore, clock: ManualClock) -> None:
    async with api_on(store, clock, FakeWebhook()) as api:
        before = await api.request("GET", "jwks.json")

    async with api_on(store, clock, FakeWebhook()) as api:
        after = await api.request("GET", "jwks.json")

    assert after.body == before.body


async def test_the_link_of_a_stream_that_was_deleted_meanwhile_is_gone(
    store: StreamStore, clock: ManualClock
) -> None:
    async with api_on(store, clock) as api:
        await api.create("events/a", b"data")
        await api.create("manual/a", b"data")
        await api.subscribe_pull(streams=["manual/a"])
        service = api.service
    await service.delete("events/a")
    await service.delete("manual/a")

    async with api_on(store, clock) as api:
        cursors = await api.cursors()
        await api.request("DELETE", "subscriptions/sub/streams/manual%2Fa")
        await eventually(lambda: is_empty(store, "subscriptions/link/"))

    assert cursors == {"manual/a": "0000000000000000_0000000000000000"}


async def test_a_stream_created_anew_meanwhile_is_pending_from_its_beginning(
    store: StreamStore, clock: ManualClock
) -> None:
    async with api_on(store, clock) as api:
        await api.create("events/a", b"data")
        await api.subscribe_pull()
        service = api.service
    await service.delete("events/a")

    async with api_on(store, clock) as api:
        tail = await api.create("events/a", b"other")
        [stream] = (await api.claim()).body["streams"]

    assert (stream["acked_offset"], stream["tail_offset"]) == (f"{tail[:17]}{0:016d}", tail)


class FailingStore(MemoryStore):
    """A store that cannot keep records while `is_broken`, and takes its time until `is_quick`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.is_broken = False
        self.refused = 0
        self.is_quick = asyncio.Event()
        self.is_quick.set()
        self.is_asked = asyncio.Event()

    async def put_record(self, key: str, value: bytes | None) -> None:
        self.is_asked.set()
        await self.is_quick.wait()
        if self.is_broken:
            self.refused += 1
            raise StoreFailure("no")
        await super().put_record(key, value)

    def slow_down(self) -> None:
        self.is_quick.clear()
        self.is_asked.clear()


@pytest.fixture
def failing_store(clock: ManualClock) -> FailingStore:
    return FailingStore(clock)


@pytest.fixture
async def failing_api(
    failing_store: FailingStore, clock: ManualClock, fake_webhook: FakeWebhook
) -> AsyncIterator[Api]:
    async with api_on(failing_store, clock, fake_webhook) as api:
        yield api


async def test_a_subscription_that_could_not_be_kept_does_not_exist(
    failing_api: Api, failing_store: FailingStore
) -> None:
    failing_store.is_broken = True
    with pytest.raises(StoreFailure):
        await failing_api.subscribe()

    failing_store.is_broken = False
    assert (await failing_api.request("GET", "subscriptions/sub")).status == 404
    assert (await failing_api.subscribe()).status == 201


async def test_a_subscription_that_could_not_be_removed_is_there_still(
    failing_api: Api, failing_store: FailingStore
) -> None:
    await failing_api.subscribe()
    failing_store.is_broken = True

    with pytest.raises(StoreFailure):
        await failing_api.request("DELETE", "subscriptions/sub")

    assert (await failing_api.request("GET", "subscriptions/sub")).status == 200


async def test_a_claim_that_could_not_be_kept_was_not_made(
    failing_api: Api, failing_store: FailingStore
) -> None:
    await failing_api.subscribe_pull()
    await failing_api.create("events/a", b"data")
    failing_store.is_broken = True
    with pytest.raises(StoreFailure):
        await failing_api.claim("worker-1")

    failing_store.is_broken = False
    claim = await failing_api.claim("worker-2")

    assert claim.status == 200


async def test_an_acknowledgement_that_could_not_be_kept_does_not_count(
    failing_api: Api, failing_store: FailingStore
) -> None:
    await failing_api.subscribe_pull()
    tail = await failing_api.create("events/a", b"data")
    claim = (await failing_api.claim()).body
    before = await failing_api.cursors()
    body = acks(claim, {"events/a": tail}, done=True)
    failing_store.is_broken = True
    with pytest.raises(StoreFailure):
        await failing_api.post("ack", body, token=claim["token"])

    assert await failing_api.cursors() == before
    failing_store.is_broken = False
    again = await failing_api.post("ack", body, token=claim["token"])

    assert again.status == 200
    assert await failing_api.cursors() == {"events/a": tail}


async def test_nobody_is_told_of_a_wake_that_could_not_be_kept(
    failing_api: Api, failing_store: FailingStore, fake_webhook: FakeWebhook
) -> None:
    await failing_api.subscribe()
    failing_store.is_broken = True
    await failing_api.create("events/a", b"data")
    await eventually(lambda: failing_store.refused)
    await settled(lambda: not fake_webhook.sent and failing_store.refused == 1)

    failing_store.is_broken = False
    await eventually(lambda: fake_webhook.sent)


async def test_an_answer_that_could_not_be_noted_brings_the_same_work_again(
    failing_store: FailingStore, fake_webhook: FakeWebhook, caplog: pytest.LogCaptureFixture
) -> None:
    answer = asyncio.get_running_loop().create_future()
    fake_webhook.answers.append(answer)
    async with api_on(failing_store, system_clock, fake_webhook) as api:
        await api.subscribe(lease_ttl_ms=1000)
        await api.create("events/a", b"data")
        first = await fake_webhook.notification(1)
        failing_store.is_broken = True
        answer.set_result(Answer(200, DONE))
        await eventually(lambda: "could not be kept" in caplog.text)

        failing_store.is_broken = False
        second = await fake_webhook.notification(2)

    assert second["streams"] == first["streams"]
    assert second["generation"] > first["generation"]


@pytest.mark.parametrize("pattern", [None, "events/*"])
async def test_data_that_comes_while_a_subscription_is_kept_is_not_missed(
    failing_api: Api, failing_store: FailingStore, fake_webhook: FakeWebhook, pattern: str | None
) -> None:
    before = await failing_api.create("events/a", b"data")
    failing_store.slow_down()
    creating = asyncio.create_task(failing_api.subscribe(pattern=pattern, streams=["events/a"]))
    await failing_store.is_asked.wait()
    after = await failing_api.append("events/a")

    failing_store.is_quick.set()
    assert (await creating).status == 201

    [stream] = (await fake_webhook.notification())["streams"]
    assert (stream["acked_offset"], stream["tail_offset"]) == (before, after)


async def test_streams_that_come_and_go_while_a_subscription_is_kept_are_linked_as_they_end_up(
    failing_api: Api, failing_store: FailingStore
) -> None:
    await failing_api.create("events/gone", b"data")
    failing_store.slow_down()
    creating = asyncio.create_task(failing_api.subscribe())
    await failing_store.is_asked.wait()
    new = await failing_api.create("events/new", b"data")
    await failing_api.service.delete("events/gone")

    failing_store.is_quick.set()
    await creating

    assert await failing_api.cursors() == {"events/new": f"{new[:17]}{0:016d}"}


async def subscribed_to_webhook(store: StreamStore, clock: ManualClock) -> None:
    """A webhook subscription that was made while webhooks were on."""
    async with api_on(store, clock, FakeWebhook()) as api:
        await api.subscribe()


async def is_kept(store: StreamStore, prefix: str, part: bytes) -> bool:
    """Whether a record holds that part."""
    return any(part in record for record in (await store.records(prefix)).values())


async def is_empty(store: StreamStore, prefix: str) -> bool:
    return await store.records(prefix) == {}


async def eventually_data(api: Api) -> None:
    """Wait until something is in the wake stream."""

    async def has_data() -> bool:
        return (await api.service.head("wake/pool")).tail > 0

    await eventually(has_data)
