"""When a subscription wakes somebody, who holds the wake, and when it is tried again (PROTOCOL §7).

Every function takes the state as it is and returns the state as it becomes, or raises and changes nothing.
What has to be done is not listed as effects but read off the state with `due_at` and `attempt_is_due`, so a
restart goes on where the last process ended without knowing what that one had begun.

A wake goes through these phases:

    webhook     due → sent, leased → accepted, leased → done
    pull-wake   due → announced → claimed, leased → done

A webhook that answers with an error puts its wake back to due, after a pause. A lease that runs out ends the
wake; if data is still pending, `settle` issues the next one with the next generation.

Invariant after `settle`: if data is pending, a wake is in flight, and it is either leased (then `due_at` is
the end of the lease), or announced, or due.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from durafold_server.subscriptions.errors import AlreadyClaimed, Fenced, NoPendingWork
from durafold_server.subscriptions.values import Delivery, Kind, Target, Wake

# PROTOCOL §7.1: exponential backoff from 1 second up to 60 seconds with 20 % jitter.
FIRST_RETRY_MS: Final = 1_000
LONGEST_RETRY_MS: Final = 60_000
_JITTER: Final = 0.2
_DOUBLINGS: Final = 6  # enough to reach the longest pause


class Chance(NamedTuple):
    """What a transition may need that cannot be computed.

    Attributes:
        wake_id: never used before.
        random: from 0 up to 1, for jitter.
    """

    wake_id: str
    random: float


def settle(
    delivery: Delivery, kind: Kind, now_ms: int, pending: tuple[Target, ...], chance: Chance
) -> Delivery:
    """End a lease that has run out; issue a wake if data is pending and none is in flight.

    A wake that nobody works on is withdrawn when nothing is pending any more: its streams are gone.
    """
    delivery = _without_expired_lease(delivery, now_ms, chance.random)
    wake = delivery.wake
    if wake is None:
        return _issue(delivery, kind, pending, chance.wake_id) if pending else delivery
    if not pending and wake.lease_until_ms is None:
        return replace(delivery, wake=None)
    return delivery


def is_leased(delivery: Delivery, now_ms: int) -> bool:
    """Whether somebody is taken to work on the wake."""
    wake = delivery.wake
    return wake is not None and wake.lease_until_ms is not None and now_ms < wake.lease_until_ms


def recover(delivery: Delivery, kind: Kind) -> Delivery:
    """The state after a restart: a request that was under way to a webhook is sent again at once.

    Whether it arrived is unknown. Its wake id stays the same, so the receiver can tell.
    """
    wake = delivery.wake
    if kind == "webhook" and wake is not None and not wake.told:
        return replace(delivery, wake=replace(wake, lease_until_ms=None))
    return delivery


def due_at(delivery: Delivery) -> int | None:
    """When this must be looked at again though nothing happens; None: not by itself."""
    wake = delivery.wake
    if wake is None:
        return None
    if wake.lease_until_ms is not None:
        return wake.lease_until_ms
    return None if wake.told else delivery.next_attempt_at_ms or 0


def attempt_is_due(delivery: Delivery, now_ms: int) -> bool:
    """Whether the wake must be sent to the webhook, or announced in the wake stream, now."""
    wake = delivery.wake
    return (
        wake is not None
        and not wake.told
        and wake.lease_until_ms is None
        and now_ms >= (delivery.next_attempt_at_ms or 0)
    )


def begin_attempt(delivery: Delivery, kind: Kind, now_ms: int, lease_ttl_ms: int) -> Delivery:
    """The wake is about to be sent. A webhook's lease starts now, a pull-wake's when it is claimed."""
    wake = delivery.wake
    if kind == "pull-wake" or wake is None:
        return delivery
    return replace(delivery, wake=replace(wake, lease_until_ms=now_ms + lease_ttl_ms))


def succeeded(delivery: Delivery, wake_id: str) -> Delivery:
    """The webhook accepted the wake, or its event was appended. Late news of another wake changes nothing."""
    wake = delivery.wake
    if wake is None or wake.wake_id != wake_id:
        return delivery
    return _told(delivery, wake)


def failed(delivery: Delivery, wake_id: str, now_ms: int, random: float) -> Delivery:
    """The attempt failed: the same wake is due again after a pause.

    A webhook that has called back meanwhile has the wake, whatever became of the response.
    """
    wake = delivery.wake
    if wake is None or wake.wake_id != wake_id or wake.told:
        return delivery
    return replace(
        _with_pause(delivery, now_ms, random), wake=replace(wake, holder=None, lease_until_ms=None)
    )


def claim(delivery: Delivery, worker: str, now_ms: int, lease_ttl_ms: int) -> tuple[Delivery, Wake]:
    """A worker takes the wake (PROTOCOL §7.2). Call `settle` first.

    Returns:
        The state, and the wake as it is now.

    Raises:
        NoPendingWork: there is no wake.
        AlreadyClaimed: another worker holds it, or this one by another claim.
    """
    wake = delivery.wake
    if wake is None:
        raise NoPendingWork
    if wake.lease_until_ms is not None:
        raise AlreadyClaimed(wake.holder, delivery.generation)
    taken = replace(wake, holder=worker, lease_until_ms=now_ms + lease_ttl_ms)
    return _told(delivery, taken), taken


def fence(delivery: Delivery, *, token: tuple[int, str], request: tuple[int, str]) -> Wake:
    """The wake in flight, if both the token's and the request's generation and wake id name it.

    Call `settle` first, so that a lease that has run out counts as that.

    Raises:
        Fenced: one of them does not (PROTOCOL §7.3).
    """
    wake = delivery.wake
    if wake is None or not token == request == (delivery.generation, wake.wake_id):
        raise Fenced
    return wake


def extend(delivery: Delivery, now_ms: int, lease_ttl_ms: int) -> Delivery:
    """A sign of life of whoever has the wake: the lease starts anew (PROTOCOL §7.2)."""
    wake = delivery.wake
    if wake is None:
        return delivery
    return _told(delivery, replace(wake, lease_until_ms=now_ms + lease_ttl_ms))


def finish(delivery: Delivery) -> Delivery:
    """The wake is done or released. Call `settle` afterwards: data may be pending still."""
    return replace(delivery, wake=None, failures=0, next_attempt_at_ms=None)


def retry_pause_ms(failures: int, random: float) -> int:
    """The pause after the given number of failures in a row, at least 1; `random` is from 0 up to 1."""
    pause_ms = min(FIRST_RETRY_MS << min(failures - 1, _DOUBLINGS), LONGEST_RETRY_MS)
    return round(pause_ms * (1 + _JITTER * (2 * random - 1)))


def _issue(delivery: Delivery, kind: Kind, pending: tuple[Target, ...], wake_id: str) -> Delivery:
    snapshot = pending if kind == "webhook" else pending[:1]
    return replace(delivery, generation=delivery.generation + 1, wake=Wake(wake_id, snapshot))


def _without_expired_lease(delivery: Delivery, now_ms: int, random: float) -> Delivery:
    wake = delivery.wake
    if wake is None or wake.lease_until_ms is None or is_leased(delivery, now_ms):
        return delivery
    if not wake.told:
        # The webhook never answered: to send the next wake at once would not spare it.
        delivery = _with_pause(delivery, now_ms, random)
    return replace(delivery, wake=None)


def _with_pause(delivery: Delivery, now_ms: int, random: float) -> Delivery:
    failures = delivery.failures + 1
    return replace(delivery, failures=failures, next_attempt_at_ms=now_ms + retry_pause_ms(failures, random))


def _told(delivery: Delivery, wake: Wake) -> Delivery:
    return replace(delivery, wake=replace(wake, told=True), failures=0, next_attempt_at_ms=None)
