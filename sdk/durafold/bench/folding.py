"""What folding costs, in CPU time of this process: no server takes part."""

from __future__ import annotations

import functools
import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, TypeAdapter

from durafold.bench.rounds import Figures
from durafold.client import Offset, Page
from durafold.engine import Declaration, define
from durafold.state.reducer import reducer
from durafold.state.replica import Batch, Confirmed, fold_batch
from durafold.state_protocol import Change, Control, MaterializedState, parse_message
from durafold.wire.envelope import Envelopes
from durafold.wire.names import JSON_CONTENT_TYPE

__all__ = ["INITIAL_TALLY", "by_hand", "message_text", "ours", "tally"]

_PAGE_MESSAGES: Final = 10_000
_CARDS: Final = 100

INITIAL_TALLY: Final = {"count": 0, "name": "bench"}


def tally(state: dict[str, Any], action: dict[str, Any]) -> dict[str, Any]:
    """A small reducer of plain dicts."""
    return {**state, "count": state["count"] + action["by"]}


class _Add(BaseModel):
    type: Literal["add"] = "add"
    by: int


class _Subtract(BaseModel):
    type: Literal["subtract"] = "subtract"
    by: int


_Step: TypeAlias = _Add | _Subtract


def _typed_tally(state: dict[str, Any], action: _Step) -> dict[str, Any]:
    by = action.by if isinstance(action, _Add) else -action.by
    return {**state, "count": state["count"] + by}


@reducer(draft=True)
def _tick(state: dict[str, Any], action: dict[str, Any]) -> None:
    state["cards"][action["card"]]["done"] = action["done"]


def _tick_by_hand(state: dict[str, Any], action: dict[str, Any]) -> dict[str, Any]:
    cards = state["cards"]
    card = {**cards[action["card"]], "done": action["done"]}
    return {**state, "cards": {**cards, action["card"]: card}}


@dataclass(frozen=True, slots=True)
class _Case:
    """A reducer, and what it is measured with.

    Attributes:
        reducer: for a replica.
        by_hand: the same without this package.
        initial: state before the first action.
        payload: the n-th action.
        actions: their type, if they are not plain dicts, which nothing checks.
    """

    reducer: Callable[[Any, Any], Any]
    by_hand: Callable[[Any, Any], Any]
    initial: Any
    payload: Callable[[int], dict[str, Any]]
    actions: Any = None


_TALLY: Final = _Case(tally, tally, INITIAL_TALLY, lambda n: {"type": "add", "by": n % 7})
_TYPED: Final = _Case(
    _typed_tally,
    _typed_tally,
    INITIAL_TALLY,
    lambda n: {"type": "add" if n % 2 else "subtract", "by": n % 7},
    _Step,
)
_DRAFT: Final = _Case(
    _tick,
    _tick_by_hand,
    {"cards": {str(n): {"title": "a card", "done": False} for n in range(_CARDS)}},
    lambda n: {"card": str(n % _CARDS), "done": n % 3 == 0},
)


def message_text(n: int, payload: str = '{"type":"add","by":1}') -> str:
    """The n-th message of a stream that three clients write to, as it is on the wire."""
    return f'{{"type":"action","payload":{payload},"meta":{{"id":"client{n % 3}:{n + 1}","v":1,"ts":{n}}}}}'


def ours(count: int) -> Figures:
    """By measure: µs of CPU per action.

    Args:
        count: how many actions are folded for one number.
    """
    return {
        "fold_dict": lambda: _per_action(_fold(_TALLY, count, decoded=True), count),
        "fold_dict_json": lambda: _per_action(_fold(_TALLY, count, decoded=False), count),
        "fold_union": lambda: _per_action(_fold(_TYPED, count, decoded=True), count),
        "fold_draft": lambda: _per_action(_fold(_DRAFT, count, decoded=True), count),
        "materialize": lambda: _per_action(_materialize(count), count),
    }


def by_hand(count: int) -> Figures:
    """The same by `functools.reduce` over the payloads: no envelopes, identities, verdicts or faults."""
    return {
        "fold_dict": lambda: _per_action(_reduce(_TALLY, count, decoded=True), count),
        "fold_dict_json": lambda: _per_action(_reduce(_TALLY, count, decoded=False), count),
        "fold_union": lambda: _per_action(_reduce(_TYPED, count, decoded=True), count),
        "fold_draft": lambda: _per_action(_reduce(_DRAFT, count, decoded=True), count),
    }


async def _per_action(work: Callable[[], object], count: int) -> float:
    gc.collect()
    started_at_s = time.process_time()
    work()
    return (time.process_time() - started_at_s) / count * 1e6


def _pages(case: _Case, count: int) -> list[Page]:
    texts = [message_text(n, json.dumps(case.payload(n), separators=(",", ":"))) for n in range(count)]
    return [
        Page(
            f"[{','.join(texts[first : first + _PAGE_MESSAGES])}]".encode(),
            JSON_CONTENT_TYPE,
            Offset(f"{first:016}"),
            Offset(f"{min(first + _PAGE_MESSAGES, count):016}"),
        )
        for first in range(0, count, _PAGE_MESSAGES)
    ]


def _fold(case: _Case, count: int, *, decoded: bool) -> Callable[[], object]:
    definition = define(Declaration("bench", case.reducer, case.initial, case.actions))
    pages = _pages(case, count)
    ready = [page.json() for page in pages] if decoded else []

    def work() -> None:
        confirmed = Confirmed(case.initial, offset=pages[0].offset)
        for number, page in enumerate(pages):
            messages = ready[number] if decoded else page.json()
            batch = Batch(Envelopes(messages), page.offset, page.next_offset)
            confirmed = fold_batch(definition.step, confirmed, batch).confirmed
        assert confirmed.revision == count

    return work


def _reduce(case: _Case, count: int, *, decoded: bool) -> Callable[[], object]:
    pages = _pages(case, count)
    ready = [page.json() for page in pages] if decoded else []
    parse: Callable[[Any], Any] = _typed if case.actions is _Step else _as_it_is

    def work() -> None:
        batches: Sequence[list[Any]] = ready if decoded else [json.loads(page.data) for page in pages]
        actions = (parse(message["payload"]) for messages in batches for message in messages)
        functools.reduce(case.by_hand, actions, case.initial)

    return work


_typed: Final = TypeAdapter[Any](_Step).validate_python


def _as_it_is(action: Any) -> Any:
    return action


def _materialize(count: int) -> Callable[[], object]:
    changes = [
        {
            "type": "user",
            "key": str(n % 1000),
            "value": {"name": "Ann", "n": n},
            "headers": {"operation": "upsert"},
        }
        for n in range(count)
    ]

    def work() -> None:
        state = MaterializedState()
        for change in changes:
            message = parse_message(change)
            assert isinstance(message, Change | Control)
            state.apply(message)

    return work
