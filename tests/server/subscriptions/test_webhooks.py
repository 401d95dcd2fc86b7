"""Webhook delivery, callbacks and retries (PROTOCOL §7.1), on every store."""

from __future__ import annotations

import asyncio

import pytest

from durafold_server.store.base import StreamStore
from durafold_server.subscriptions.courier import MAX_STREAMS, Answer, DeliveryFailed
from support.server_stores import ManualClock
from support.subscriptions import BASE_URL, DONE, WEBHOOK_URL, Api, FakeWebhook, acks, api_on, cursors_of
from support.waiting import eventually, settled

pytestmark = pytest.mark.anyio


async def test_a_notification_names_the_wake_and_what_is_pending(api: Api, fake_webhook: FakeWebhook) -> None:
    idle = await api.create("events/idle", b"data")
    await api.subscribe()
    tail = await api.create("events/a", b"data")

    body = await fake_webhook.notification()

    assert body == {
        "subscription_id": "sub",
        "wake_id": body["wake_id"],
        "generation": 1,
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
        "callback_url": f"{BASE_URL}/__ds/subscriptions/sub/callback",
        "callback_token": body["callback_token"],
    }
    url, headers, _ = fake_webhook.sent[0]
    assert url == WEBHOOK_URL
    assert headers["Content-Type"] == "application/json"


async def test_a_webhook_that_is_done_acknowledges_all_that_it_was_told(
    api: Api, fake_webhook: FakeWebhook
) -> None:
    fake_webhook.default = Answer(200, DONE)
    await api.subscribe()
    tails = {path: await api.create(path, b"data") for path in ("events/a", "events/b")}

    await api.until(lambda subscription: cursors_of(subscription) == tails)
    await settled(lambda: len(fake_webhook.sent) <= 2)
    assert (await api.get())["status"] == "active"


async def test_data_that_came_after_the_wake_is_not_acknowledged_with_it(
    api: Api, fake_webhook: FakeWebhook
) -> None:
    answer = asyncio.get_running_loop().create_future()
    fake_webhook.answers.append(answer)
    await api.subscribe()
    first = await api.create("events/a", b"data")
    await fake_webhook.notification(1)
    second = await api.append("events/a")

    answer.set_result(Answer(200, DONE))

    body = await fake_webhook.notification(2)
    [stream] = body["streams"]
    assert body["generation"] == 2
    assert (stream["acked_offset"], stream["tail_offset"]) == (first, second)
    assert body["wake_id"] != fake_webhook.notifications[0]["wake_id"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"[]",
        b"done",
        b'{"done": false}',
        b'{"done": 1}',
        b'{"done": "true"}',
        b"\xff",
        b"[" * 10_000,
    ],
)
async def test_any_other_answer_is_not_done(api: Api, fake_webhook: FakeWebhook, answer: bytes) -> None:
    fake_webhook.answers.append(Answer(200, answer))
    await api.subscribe()
    tail = await api.create("events/a", b"data")

    body = await fake_webhook.notification()
    callback = await api.post(
        "callback", acks(body, {"events/a": tail}, done=True), token=body["callback_token"]
    )

    assert (callback.status, callback.body) == (200, {"ok": True, "next_wake": False})


async def test_a_callback_acknowledges_and_ends_the_wake(api: Api, fake_webhook: FakeWebhook) -> None:
    await api.subscribe()
    tail = await api.create("events/a", b"data")
    body = await fake_webhook.notification()

    done = acks(body, {"events/a": tail}, done=True)
    callback = await api.post("callback", done, token=body["callback_token"])
    again = await api.post("callback", done, token=body["callback_token"])

    assert (callback.status, callback.body) == (200, {"ok": True, "next_wake": False})
    assert await api.cursors() == {"events/a": tail}
    assert (again.status, again.code) == (409, "FENCED")


async def test_a_callback_that_is_done_with_part_of_it_brings_the_next_wake(
    api: Api, fake_webhook: FakeWebhook
) -> None:
    await api.subscribe()
    first = await api.create("events/a", b"data")
    body = await fake_webhook.notification()
    await api.append("events/a")

    callback = await api.post(
        "callback", acks(body, {"events/a": first}, done=True), token=body["callback_token"]
    )

    assert callback.body == {"ok": True, "next_wake": True}
    assert (await fake_webhook.notification(2))["generation"] == 2


async def test_a_callback_may_come_before_the_answer(api: Api, fake_webhook: FakeWebhook) -> None:
    answer = asyncio.get_running_loop().create_future()
    fake_webhook.answers.append(answer)
    await api.subscribe()
    tail = await api.create("events/a", b"data")
    body = await fake_webhook.notification()

    callback = await api.post(
        "callback", acks(body, {"events/a": tail}, done=True), token=body["callback_token"]
    )
    answer.set_result(Answer(500, b""))

    assert callback.status == 200
    await settled(lambda: len(fake_webhook.sent) == 1)
    assert (await api.get())["status"] == "active"


async def test_the_next_wake_does_not_wait_for_the_answer_to_the_last(
    api: Api, fake_webhook: FakeWebhook
) -> None:
    fake_webhook.answers.append(asyncio.get_running_loop().create_future())
    await api.subscribe()
    first = await api.create("events/a", b"data")
    body = await fake_webhook.notification()
    await api.append("events/a")

    await api.post("callback", acks(body, {"events/a": first}, done=True), token=body["callback_token"])

    assert (await fake_webhook.notification(2))["generation"] == 2


async def test_a_late_done_does_not_finish_the_next_wake(api: Api, fake_webhook: FakeWebhook) -> None:
    late = asyncio.get_running_loop().create_future()
    fake_webhook.answers.append(late)
    await api.subscribe()
    first = await api.create("events/a", b"data")
    body = await fake_webhook.notification(1)
    await api.append("events/a")
    await api.post("callback", acks(body, {"events/a": first}, done=True), token=body["callback_token"])
    second = await fake_webhook.notification(2)

    late.set_result(Answer(200, DONE))
    await asyncio.sleep(0.02)

    assert await api.cursors() == {"events/a": first}
    extended = await api.post("callback", acks(second), token=second["callback_token"])
    assert extended.status == 200


async def test_without_a_callback_the_wake_is_issued_anew_after_its_lease(
    api: Api, fake_webhook: FakeWebhook, clock: ManualClock
) -> None:
    await api.subscribe(lease_ttl_ms=1000)
    tail = await api.create("events/a", b"data")
    first = await fake_webhook.notification(1)

    clock.now_us += 1_000_000
    await api.look_again()
    second = await fake_webhook.notification(2)
    late = await api.post("callback", acks(first, {"events/a": tail}), token=first["callback_token"])

    assert second["generation"] == 2
    assert (late.status, late.code) == (409, "FENCED")


async def test_a_callback_without_done_extends_the_lease(
    api: Api, fake_webhook: FakeWebhook, clock: ManualClock
) -> None:
    await api.subscribe(lease_ttl_ms=1000)
    tail = await api.create("events/a", b"data")
    body = await fake_webhook.notification()
    clock.now_us += 900_000

    extended = await api.post("callback", acks(body, {"events/a": tail}), token=body["callback_token"])
    clock.now_us += 900_000
    done = await api.post("callback", acks(body, done=True), token=body["callback_token"])

    assert extended.body == {"ok": True, "next_wake": False}
    assert done.status == 200


@pytest.mark.parametrize(
    "failure", [Answer(500, DONE), Answer(302, DONE), Answer(404, b""), DeliveryFailed("?")]
)
async def test_a_failed_delivery_is_tried_again_with_the_same_wake(
    api: Api, fake_webhook: FakeWebhook, failure: Answer | DeliveryFailed, clock: ManualClock
) -> None:
    fake_webhook.answers.append(failure)
    await api.subscribe()
    await api.create("events/a", b"data")
    first = await fake_webhook.notification(1)
    await api.until_status("failed")
    await settled(lambda: len(fake_webhook.sent) == 1)

    clock.now_us += 1_200_000
    await api.look_again()
    second = await fake_webhook.notification(2)

    assert {name: second[name] for name in ("wake_id", "generation", "streams")} == {
        name: first[name] for name in ("wake_id", "generation", "streams")
    }
    await api.until_status("active")


async def test_a_retry_acknowledges_what_its_wake_named_though_more_has_come(
    api: Api, fake_webhook: FakeWebhook, clock: ManualClock
) -> None:
    fake_webhook.answers.extend([Answer(500, b""), Answer(200, DONE)])
    await api.subscribe()
    first = await api.create("events/a", b"data")
    await api.until_status("failed")
    second = await api.append("events/a")

    clock.now_us += 1_200_000
    await api.create("events/b", b"data")
    await api.look_again()

    await fake_webhook.notification(2)
    third = await fake_webhook.notification(3)
    offsets = {stream["path"]: (stream["acked_offset"], stream["tail_offset"]) for stream in third["streams"]}
    assert offsets["events/a"] == (first, second)


async def test_a_callback_during_the_pause_before_a_retry_is_welcome(
    api: Api, fake_webhook: FakeWebhook, clock: ManualClock
) -> None:
    fake_webhook.answers.append(DeliveryFailed("the answer was lost"))
    await api.subscribe()
    tail = await api.create("events/a", b"data")
    body = await fake_webhook.notification()
    await api.until_status("failed")

    callback = await api.post(
        "callback", acks(body, {"events/a": tail}, done=True), token=body["callback_token"]
    )
    clock.now_us += 60_000_000

    assert callback.status == 200
    await settled(lambda: len(fake_webhook.sent) == 1)
    assert (await api.get())["status"] == "active"


async def test_retries_end_when_the_stream_is_gone(
    api: Api, fake_webhook: FakeWebhook, clock: ManualClock
) -> None:
    fake_webhook.default = Answer(500, b"")
    await api.subscribe()
    await api.create("events/a", b"data")
    await api.until_status("failed")

    await api.service.delete("events/a")
    clock.now_us += 60_000_000
    await api.look_again()

    await api.until_status("active")
    await settled(lambda: len(fake_webhook.sent) == 1)


async def test_nothing_is_sent_for_data_that_has_expired(
    api: Api, fake_webhook: FakeWebhook, clock: ManualClock
) -> None:
    fake_webhook.answers.append(Answer(500, b""))
    await api.subscribe()
    await api.create("events/a", b"data", stream_ttl="10")
    await api.until_status("failed")

    clock.now_us += 60_000_000
    await api.look_again()

    await api.until_status("active")
    await settled(lambda: len(fake_webhook.sent) == 1)


async def test_a_notification_names_a_bounded_number_of_streams_and_the_next_one_the_rest(
    api: Api, fake_webhook: FakeWebhook
) -> None:
    answer = asyncio.get_running_loop().create_future()
    fake_webhook.answers.append(answer)
    fake_webhook.default = Answer(200, DONE)
    await api.subscribe()
    await api.create("events/first", b"data")
    await fake_webhook.notification(1)
    for number in range(MAX_STREAMS + 5):
        await api.create(f"events/{number}", b"data")

    answer.set_result(Answer(200, DONE))
    second, third = await fake_webhook.notification(2), await fake_webhook.notification(3)

    assert len(second["streams"]) == MAX_STREAMS
    assert len([stream for stream in third["streams"] if stream["has_pending"]]) == 5


async def test_the_callback_url_follows_the_server_when_it_moves(api: Api, fake_webhook: FakeWebhook) -> None:
    created = (await api.subscribe()).body
    config = {name: created[name] for name in ("type", "pattern", "lease_ttl_ms")}
    config["webhook"] = {"url": WEBHOOK_URL}

    await api.request("PUT", "subscriptions/sub", config, base_url="https://new.test/streams")
    await api.create("events/a", b"data")

    body = await fake_webhook.notification()
    assert body["callback_url"] == "https://new.test/streams/__ds/subscriptions/sub/callback"


async def test_an_unanswered_request_is_given_up_when_the_server_stops(
    store: StreamStore, clock: ManualClock, fake_webhook: FakeWebhook
) -> None:
    fake_webhook.answers.append(asyncio.get_running_loop().create_future())
    async with api_on(store, clock, fake_webhook) as api:
        await api.subscribe()
        await api.create("events/a", b"data")
        await fake_webhook.notification()

    assert fake_webhook.is_closed
    assert fake_webhook.notifications[0]["generation"] == 1


async def test_ten_subscriptions_are_each_told(api: Api, fake_webhook: FakeWebhook) -> None:
    for number in range(10):
        await api.subscribe(f"sub-{number}")

    await api.create("events/a", b"data")

    await eventually(lambda: len(fake_webhook.sent) == 10)
    assert {body["subscription_id"] for body in fake_webhook.notifications} == {
        f"sub-{number}" for number in range(10)
    }
