"""`ReflexTab` and `ReflexTalk`: what a browser tab says to a Reflex app, without a browser.

Reflex's wire form (Socket.IO over one WebSocket) is internal to Reflex, so it stands in this file only:

- an Engine.IO frame begins with a digit: 0 open, 2 ping, 3 pong, 4 message;
- a message is a Socket.IO packet: a digit (0 connect, 2 event), the namespace, a comma, JSON;
- the first hydrate rides in the connect packet; the app answers with `{"delta": {state: {var: value}}}`.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self

from websockets.sync.client import connect

from support.waiting import PATIENCE_S

__all__ = ["ReflexTab", "ReflexTalk"]

_NAMESPACE: Final = "/_event"
_ROOT: Final = "reflex___state____state"


class ReflexTalk:
    """What a tab says and hears, without a socket.

    Args:
        app_url: such as `http://127.0.0.1:40123`.
        module: module whose state classes the tab watches, such as `reflex_demo.reflex_demo`.
        token: the tab's session token, which a real tab keeps through reloads; a new one by default.
        query: what the address of the page says: `{"room": "red"}` for `/rooms/red`.

    Attributes:
        shown: the value of every var by `Class.var`, as the page would show it.
        updates: what each frame so far brought, in the same form; the first one is the hydrate.
        toasts: the messages that popped up, as the scripts that show them.
    """

    def __init__(
        self, app_url: str, module: str, *, token: str | None = None, query: Mapping[str, Any] | None = None
    ) -> None:
        self.token = token or str(uuid.uuid4())
        self.shown: dict[str, Any] = {}
        self.updates: list[dict[str, Any]] = []
        self.toasts: list[str] = []
        self._app_url = app_url
        self._module = module
        self._query = query or {}

    @property
    def address(self) -> str:
        """Where to connect."""
        query = f"EIO=4&transport=websocket&token={self.token}"
        return f"{self._app_url.replace('http', 'ws', 1)}{_NAMESPACE}/?{query}"

    @property
    def is_hydrated(self) -> bool:
        """Whether the page has its values."""
        return self.shown.get("State.is_hydrated") is True

    def greeting(self) -> str:
        """What to say after Engine.IO's own greeting."""
        return f"40{_NAMESPACE},{json.dumps({'event': self._hydrate()})}"

    def event(self, handler: str, payload: Mapping[str, Any]) -> str:
        """What to say to trigger an event."""
        *classes, name = handler.split(".")
        full_name = ".".join([_ROOT, *map(self._full_name, classes), name])
        return f"42{_NAMESPACE},{json.dumps(['event', self._event(full_name, payload)])}"

    def moved(self, query: Mapping[str, Any]) -> str:
        """What to say when another page of the app is shown, as after a click on a link."""
        self._query = query
        return f"42{_NAMESPACE},{json.dumps(['event', self._hydrate()])}"

    def hear(self, frame: str) -> str | None:
        """Take in a frame; returns what to say to it, if anything."""
        if frame.startswith(f"42{_NAMESPACE},"):
            name, update = json.loads(frame.partition(",")[2])
            assert name == "event", frame
            self._take_in(update)
        return "3" if frame == "2" else None

    def _take_in(self, update: dict[str, Any]) -> None:
        changes = {
            f"{self._class_name(state)}.{variable.removesuffix('_rx_state_')}": value
            for state, variables in update.get("delta", {}).items()
            for variable, value in variables.items()
        }
        self.updates.append(changes)
        self.shown |= changes
        self.toasts += [text for event in update.get("events", []) if "toast" in (text := json.dumps(event))]

    def _full_name(self, class_name: str) -> str:
        return f"{self._module.replace('.', '___')}____{_snake(class_name)}"

    def _class_name(self, state: str) -> str:
        return "".join(word.capitalize() for word in state.rpartition("____")[2].split("_"))

    def _hydrate(self) -> dict[str, Any]:
        return self._event(f"{_ROOT}.hydrate_and_load", {})

    def _event(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        router = {"pathname": "/", "query": self._query, "asPath": "/"}
        return {"name": name, "payload": payload, "router_data": router, "token": self.token}


class ReflexTab(ReflexTalk):
    """A tab that looks at a page of an app; a context manager. Arguments: see `ReflexTalk`."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._socket = stack.enter_context(connect(self.address, proxy=None))
            self._socket.recv(PATIENCE_S)  # Engine.IO's own greeting
            self._socket.send(self.greeting())
            self.wait_for(lambda: self.is_hydrated)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._open.close()

    def send(self, handler: str, **payload: Any) -> None:
        """Trigger an event: `send("Counter.increment", by=1)`; of a subclass: `send("Counter.Page.show")`."""
        self._socket.send(self.event(handler, payload))

    def go(self, query: Mapping[str, Any]) -> None:
        """Move to another page of the app, as a link in it does."""
        self._socket.send(self.moved(query))

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Take in updates until the condition holds; fails with what is shown after a minute."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"did not happen; shown is {self.shown}"
            self._receive(timeout_s=0.1)

    def _receive(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            if (answer := self.hear(str(self._socket.recv(timeout_s)))) is not None:
                self._socket.send(answer)


def _snake(class_name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in class_name).lstrip("_")
