"""Checks for tests of shared state: that clients agree, and that a reducer is one."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio

from durafold.engine import Declaration, Handle, define
from durafold.errors import ConfigurationError
from durafold.state.json_values import NotJson
from durafold.state.reducer import DeclaredReducer, fold, upcast
from durafold.wire.envelope import ACTION, ActionId, Envelope

__all__ = ["assert_converged", "check_reducer", "settle"]

_POLL_S: Final = 0.002

_SLOW: Final = ("too_slow", "data_too_large", "filter_too_much", "large_base_example")
"""What Hypothesis is not to complain of: some types of actions are hard to make up."""


async def settle(*handles: Handle[Any], timeout_s: float = 30.0) -> None:
    """Wait until everything that was dispatched has come back, and all handles of a key have read as far.

    Args:
        handles: of any keys, on any providers.
        timeout_s: seconds to wait at most.

    Raises:
        AssertionError: they did not settle; the message says how far each one is.

    Examples:
        >>> here, there = party.server_state(0, "settled"), party.server_state(0, "settled")
        >>> changing = here.increment()
        >>> await settle(here, there)
        >>> there.value, there.pending
        (1, 0)
    """
    with anyio.move_on_after(timeout_s):
        while not _are_settled(handles):  # noqa: ASYNC110 - there is no one event for several handles
            await anyio.sleep(_POLL_S)
        return
    states = [f"{handle!r} at {handle.offset}, {handle.pending} pending" for handle in handles]
    raise AssertionError("Not settled: " + "; ".join(states))


def _are_settled(handles: Sequence[Handle[Any]]) -> bool:
    offsets: defaultdict[str, set[str]] = defaultdict(set)
    for handle in handles:
        offsets[handle.key].add(handle.offset)
    return all(handle.pending == 0 and handle.status in ("live", "degraded") for handle in handles) and all(
        len(found) == 1 for found in offsets.values()
    )


async def assert_converged(*handles: Handle[Any]) -> None:
    """Check that all handles of a key have the state that replaying its log gives.

    Raises:
        AssertionError: they do not; the message shows the first difference.

    Examples:
        >>> counter = party.server_state(0, "converged")
        >>> await counter.increment()
        1
        >>> await assert_converged(counter)
    """
    for handle in handles:
        history = await handle.history()
        replayed = history.at(len(history))
        if handle.confirmed != replayed or handle.value != replayed:
            raise AssertionError(
                f"{handle!r} of client {handle.client_id} has\n  {handle.value!r}\n"
                f"(confirmed {handle.confirmed!r})\n"
                f"and its log of {len(history)} messages gives\n  {replayed!r}"
            )


def check_reducer(
    reducer: Callable[..., Any],
    initial: Any,
    *,
    actions: Any = None,
    state_type: Any = None,
    strategy: Any = None,
    max_examples: int = 100,
) -> None:
    """Run a reducer over generated logs and look for what would keep replicas from agreeing.

    Checked are, for every action: that it survives the way through JSON; that the reducer changes neither the
    state nor the action it is given, and gives one result for one input; that it raises nothing but `Reject`
    and `UnknownAction`; that upcasters leave the present form as it is; that the state survives the way
    through JSON, as snapshots need it; and that a declared inverse is an action of the reducer.

    Args:
        reducer: the reducer.
        initial: its initial state.
        actions: type of its actions, if it is not the annotation of its second parameter.
        state_type: type of its state, if it is not that of `initial`.
        strategy: a Hypothesis strategy of actions. Default: made from the type of the actions.
        max_examples: how many logs are tried.

    Raises:
        AssertionError: with the shortest log that was found.
        ConfigurationError: Hypothesis is not installed, or there is no type to make actions from.

    Examples:
        >>> def total(state: int, action: int) -> int:
        ...     return state + action
        >>> check_reducer(total, 0, max_examples=10)
        >>> def ratio(state: int, action: int) -> int:
        ...     return state // action
        >>> check_reducer(ratio, 1, max_examples=50)
        Traceback (most recent call last):
            ...
        AssertionError: it raises ZeroDivisionError('integer division or modulo by zero'), at 0
    """
    try:
        from hypothesis import HealthCheck, given, settings
        from hypothesis import strategies as st
    except ImportError as exc:
        raise ConfigurationError("check_reducer needs Hypothesis", hint="pip install hypothesis") from exc
    definition = define(Declaration("checked", reducer, initial, actions, state_type), strict=True)
    chosen = strategy if strategy is not None else _strategy_of(reducer, actions, st)

    slow = [getattr(HealthCheck, name) for name in _SLOW]

    @settings(max_examples=max_examples, deadline=None, suppress_health_check=slow)
    @given(st.lists(chosen, max_size=12))
    def check(log: list[Any]) -> None:
        _Run(definition, reducer).fold(log)

    check()


def _strategy_of(reducer: Callable[..., Any], actions: Any, st: Any) -> Any:
    function = reducer.function if isinstance(reducer, DeclaredReducer) else reducer
    declared = actions or (reducer.actions if isinstance(reducer, DeclaredReducer) else None)
    if declared is None:
        parameters = list(inspect.signature(function, eval_str=True).parameters.values())
        declared = parameters[1].annotation if len(parameters) > 1 else inspect.Parameter.empty
    if declared in (Any, dict, inspect.Parameter.empty):
        raise ConfigurationError("There is no type to make actions from", hint="Pass strategy=")
    return st.from_type(declared)


class _Run:
    """One generated log."""

    def __init__(self, definition: Any, reducer: Callable[..., Any]) -> None:
        self._definition = definition
        self._reducer = reducer

    def fold(self, log: Sequence[Any]) -> None:
        state, revision = self._definition.initial, 0
        for n, action in enumerate(log, 1):
            payload = self._definition.actions.dump(action)
            _check(upcast(self._reducer, payload) == payload, "an upcaster changes the present form", action)
            message = Envelope(ACTION, payload, ActionId("check", n), ts_ms=n, seed=str(n))
            after, outcome = fold(self._definition.step, state, message, revision)
            _check(outcome.verdict != "poison", f"it raises {outcome.error!r}", action)
            self._check_inverse(state, payload, outcome.verdict)
            dumped = self._definition.states.dump(after)
            _check(self._definition.states.parse(dumped) == after, "the state is another one as JSON", action)
            state, revision = after, revision + (outcome.verdict == "applied")

    def _check_inverse(self, before: Any, payload: Any, verdict: str) -> None:
        reducer = self._reducer
        if verdict != "applied" or not isinstance(reducer, DeclaredReducer) or reducer.inverse is None:
            return
        inverse = reducer.inverse(before, self._definition.actions.parse(payload))
        for action in inverse if isinstance(inverse, list | tuple) else [inverse]:
            if action is not None:
                _check(self._is_action(action), "the inverse is no action of the reducer", action)

    def _is_action(self, action: Any) -> bool:
        try:
            self._definition.actions.dump(action)
        except NotJson:
            return False
        return True


def _check(holds: bool, complaint: str, action: Any) -> None:
    if not holds:
        raise AssertionError(f"{complaint}, at {action!r}")
