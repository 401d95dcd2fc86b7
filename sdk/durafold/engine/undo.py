"""Undo and redo of own actions: new actions that take the effect of earlier ones back.

The log is never rewritten. What undoes an action is said by the reducer (`@reducer(inverse=...)`) or, for
shared values, known (`durafold.state.inverse`), and computed from the state that the action found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, cast

from durafold.engine.definition import Definition
from durafold.engine.dispatch import Dispatch
from durafold.engine.middleware import DispatchKind
from durafold.errors import ConfigurationError
from durafold.state.inverse import inverse_of
from durafold.state.reducer import DeclaredReducer, upcast
from durafold.wire.envelope import ACTION

__all__ = ["UndoStack", "UndoStacks"]

S = TypeVar("S")

MAX_GROUPS: Final = 100
"""How many steps can be undone; older ones are forgotten."""

MAX_UNDOING: Final = 1000
"""Of how many messages it is remembered what they undo; the refusal of an older one changes nothing here."""

MAX_USERS: Final = 1000
"""Of how many users of one process steps are remembered; who was longest idle is forgotten."""


class Dispatching(Protocol[S]):
    """What undoing needs of an engine."""

    definition: Definition[S]

    def dispatch(self, kind: DispatchKind, action: Any) -> Dispatch[S]:
        """Show an action at once, and send it."""
        ...

    def dispatch_again(self, kind: DispatchKind, payload: Any) -> Dispatch[S]:
        """Dispatch something of which the JSON form is known."""
        ...


_Message: TypeAlias = tuple[DispatchKind, Any]


@dataclass(eq=False, slots=True)
class _Step(Generic[S]):
    """An own action.

    Attributes:
        kind: of its message.
        payload: of its message, unless it is a functional update.
        function: of a functional update.
        before: the view that it found.
        left: what is still to be dispatched to undo it, by place in the order; None before it is tried.
    """

    kind: DispatchKind
    payload: Any
    function: Callable[[S], S] | None
    before: S
    left: dict[int, _Message] | None = None


@dataclass(eq=False, slots=True)
class _Group(Generic[S]):
    """Actions that are undone together, by ticket.

    Attributes:
        block: the `undo_group()` they are of.
        steps: the actions.
    """

    block: object | None = None
    steps: dict[int, _Step[S]] = field(default_factory=dict)

    def put_first(self, ticket: int, step: _Step[S]) -> None:
        """Put an action before the others."""
        self.steps = {ticket: step, **self.steps}


@dataclass(frozen=True, slots=True)
class _Undoing(Generic[S]):
    """What one message has to do with an undo.

    Attributes:
        undone: where the undone actions are.
        ticket: of the action that it undoes.
        step: that action.
        index: its place among the messages that undo it.
        message: the message.
    """

    undone: _Group[S]
    ticket: int
    step: _Step[S]
    index: int
    message: _Message


class UndoStack(Generic[S]):
    """Own actions of a key in this process, so that the last ones can be undone.

    Args:
        engine: dispatches what undoes and redoes.
        block: the `undo_group()` that the caller is in, if any.
    """

    def __init__(self, engine: Dispatching[S], block: Callable[[], object | None]) -> None:
        self._engine = engine
        self._block = block
        self._done: list[_Group[S]] = []
        self._undone: list[_Group[S]] = []
        self._redone: _Group[S] | None = None  # while something is done again, where that is recorded
        self._undoing: _Undoing[S] | None = None  # while something is undone, by what
        self._undone_by: dict[int, _Undoing[S]] = {}

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return bool(self._undone)

    def record(
        self, ticket: int, kind: str, payload: Any, function: Callable[[S], S] | None, before: S
    ) -> None:
        """An own action was dispatched."""
        if self._undoing is not None:
            self._undone_by[ticket] = self._undoing
            if len(self._undone_by) > MAX_UNDOING:
                del self._undone_by[next(iter(self._undone_by))]
            return
        if self._redone is None:
            self._undone.clear()
        group = self._redone or self._group_of(self._block()) or self._push(_Group(self._block()))
        group.steps[ticket] = _Step(cast("DispatchKind", kind), payload, function, before)

    def forget(self, ticket: int) -> None:
        """An own action has failed: nothing of it is to be undone, and what it should undo is not undone."""
        for group in self._done:
            group.steps.pop(ticket, None)
        undoing = self._undone_by.pop(ticket, None)
        if undoing is not None:
            self._take_back(undoing)
        self._drop_empty_groups()

    def _take_back(self, undoing: _Undoing[S]) -> None:
        """A message that should undo an action was refused: the action can be undone by what was refused."""
        step = undoing.step
        step.left = step.left or {}
        step.left[undoing.index] = undoing.message
        for group in self._undone:
            group.steps.pop(undoing.ticket, None)
        if not any(undoing.ticket in group.steps for group in self._done):
            again = self._group_of(undoing.undone) or self._push(_Group(undoing.undone))
            again.put_first(undoing.ticket, step)

    def undo(self) -> Dispatch[S] | None:
        """Undo the last step; returns its last action, None if there is nothing to undo."""
        self._require_no_group()
        if not self._done:
            return None
        group, undone = self._done[-1], _Group[S]()
        for step in group.steps.values():
            step.left = dict(enumerate(self._inverse(step))) if step.left is None else step.left
        last: Dispatch[S] | None = None
        try:
            for ticket, step in reversed(tuple(group.steps.items())):
                last = self._dispatch_left(undone, ticket, step) or last
                undone.put_first(ticket, group.steps.pop(ticket))
        finally:  # if middleware rejects one of several, those before it are undone
            self._undoing = None
            self._undone.append(undone)
            self._drop_empty_groups()
        return last

    def _dispatch_left(self, undone: _Group[S], ticket: int, step: _Step[S]) -> Dispatch[S] | None:
        """Dispatch what is left to undo an action; returns the last of it."""
        last: Dispatch[S] | None = None
        left = step.left or {}
        for index, message in sorted(left.items(), key=itemgetter(0)):
            self._undoing = _Undoing(undone, ticket, step, index, message)
            last = self._engine.dispatch_again(*message)
            del left[index]
        return last

    def redo(self) -> Dispatch[S] | None:
        """Do the step again that was undone last; returns its last action, None if there is none."""
        self._require_no_group()
        if not self._undone:
            return None
        group = self._undone[-1]
        last: Dispatch[S] | None = None
        self._redone = self._push(_Group())
        try:
            for ticket, step in tuple(group.steps.items()):
                last = self._again(step)
                del group.steps[ticket]
        finally:
            self._redone = None
            self._drop_empty_groups()  # of a step whose actions were all refused
        return last

    def _group_of(self, block: object | None) -> _Group[S] | None:
        return next((group for group in reversed(self._done) if block and group.block is block), None)

    def _push(self, group: _Group[S]) -> _Group[S]:
        self._done.append(group)
        del self._done[:-MAX_GROUPS]
        return group

    def _drop_empty_groups(self) -> None:
        self._done = [group for group in self._done if group.steps]
        self._undone = [group for group in self._undone if group.steps]

    def _require_no_group(self) -> None:
        if self._block() is not None:
            raise ConfigurationError("Nothing can be undone or redone inside undo_group()")

    def _again(self, step: _Step[S]) -> Dispatch[S]:
        if step.function is not None:
            return self._engine.dispatch("set", step.function)
        return self._engine.dispatch_again(step.kind, step.payload)

    def _inverse(self, step: _Step[S]) -> list[_Message]:
        definition = self._engine.definition
        if step.kind != ACTION:
            kind, payload = inverse_of(step.kind, step.payload, definition.states.dump(step.before))
            return [(cast("DispatchKind", kind), payload)]
        reducer = definition.declaration.reducer
        if not isinstance(reducer, DeclaredReducer) or reducer.inverse is None:
            raise ConfigurationError(
                f"Nothing says how actions of {definition.key!r} are undone",
                hint="Declare it: @reducer(inverse=...)",
            )
        action = definition.actions.parse(upcast(reducer, step.payload))
        inverse = reducer.inverse(step.before, action)
        if inverse is None:
            return []
        actions = inverse if isinstance(inverse, list | tuple) else [inverse]
        return [("action", definition.actions.dump(item)) for item in actions]


@dataclass(frozen=True, slots=True)
class _Acting:
    """For whom the code around a dispatch acts, and in which `undo_group()` it is."""

    user: str | None = None
    block: object | None = None


_NOBODY: Final = _Acting()

# In the context, so that what one task or thread says of itself does not hold for the others beside it.
_contexts: ContextVar[Mapping[UndoStacks[Any], _Acting]] = ContextVar("durafold_acting")


class UndoStacks(Generic[S]):
    """The `UndoStack` of each user of a key in this process: a web app acts for many at a time.

    Args:
        engine: dispatches what undoes and redoes.

    Attributes:
        current: that of the user on whose behalf the caller acts.
        user: who that is; None for the process itself.
    """

    def __init__(self, engine: Dispatching[S]) -> None:
        self._engine = engine
        self._process: UndoStack[S] = UndoStack(engine, self._block)
        self._users: dict[str, UndoStack[S]] = {}  # in the order in which they were last active

    @property
    def user(self) -> str | None:
        """Whom the caller acts for; None: for the process."""
        return self._acting.user

    @property
    def current(self) -> UndoStack[S]:
        """The stack of whom the caller acts for."""
        user = self._acting.user
        if user is None:
            return self._process
        stack = self._users.pop(user, None) or UndoStack(self._engine, self._block)
        self._users[user] = stack
        if len(self._users) > MAX_USERS:
            del self._users[next(iter(self._users))]
        return stack

    def of(self, user: str) -> AbstractContextManager[None]:
        """`current` is the user's in the block, and in tasks that are started from it."""
        return self._as(lambda acting: replace(acting, user=user))

    def group(self) -> AbstractContextManager[None]:
        """What is dispatched in the block is undone in one step; of nested blocks, the outer one counts."""
        return self._as(lambda acting: replace(acting, block=acting.block or object()))

    def forget(self, ticket: int) -> None:
        """An own action has failed, whoever dispatched it."""
        for stack in (self._process, *self._users.values()):
            stack.forget(ticket)

    @property
    def _acting(self) -> _Acting:
        return _contexts.get({}).get(self, _NOBODY)

    def _block(self) -> object | None:
        return self._acting.block

    @contextmanager
    def _as(self, inside: Callable[[_Acting], _Acting]) -> Iterator[None]:
        # Read where the block is entered, which may be elsewhere than where it was asked for.
        token = _contexts.set({**_contexts.get({}), self: inside(self._acting)})
        try:
            yield
        finally:
            _contexts.reset(token)
