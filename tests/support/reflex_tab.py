"""`ReflexTab`: what a browser tab says to a Reflex app, without a browser.

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
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

from websockets.sync.client import connect

__all__ = ["ReflexTab"]

_NAMESPACE: Final = "/_event"
_ROOT: Final = "reflex___state____state"
_PATIENCE_S: Final = 30.0


class ReflexTab:
    """A tab that looks at a page of an app; a context manager.

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

    def __enter__(self) -> Self:
        address = self._app_url.replace("http", "ws", 1)
        query = f"EIO=4&transport=websocket&token={self.token}"
        with ExitStack() as stack:
            self._socket = stack.enter_context(connect(f"{address}{_NAMESPACE}/?{query}", proxy=None))
            self._socket.recv(_PATIENCE_S)  # Engine.IO's own greeting
            hydrate = self._event(f"{_ROOT}.hydrate_and_load", {})
            self._socket.send(f"40{_NAMESPACE},{json.dumps({'event': hydrate})}")
            self.wait_for(lambda: self.shown.get("State.is_hydrated") is True)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._open.close()

    def send(self, handler: str, **payload: Any) -> None:
        """Trigger an event: `send("Counter.increment", by=1)`; of a subclass: `send("Counter.Page.show")`."""
        *classes, event = handler.split(".")
        name = ".".join([_ROOT, *map(self._full_name, classes), event])
        packet = ["event", self._event(name, payload)]
        self._socket.send(f"42{_NAMESPACE},{json.dumps(packet)}")

    def go(self, query: Mapping[str, Any]) -> None:
        """Move to another page of the app, as a link in it does."""
        self._query = query
        packet = ["event", self._event(f"{_ROOT}.hydrate_and_load", {})]
        self._socket.send(f"42{_NAMESPACE},{json.dumps(packet)}")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Take in updates until the condition holds; fails with what is shown after 30 seconds."""
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"did not happen; shown is {self.shown}"
            self._receive(timeout_s=0.1)

    def _receive(self, timeout_s: float) -> None:
        try:
            frame = str(self._socket.recv(timeout_s))
        except TimeoutError:
            return
        if frame == "2":
            self._socket.send("3")
        elif frame.startswith(f"42{_NAMESPACE},"):
            name, update = json.loads(frame.partition(",")[2])
            assert name == "event", frame
            self._take_in(update)

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

    def _event(self, name: str, payload: dict[str, Any]) -> dict[str, Any]:
        router = {"pathname": "/", "query": self._query, "asPath": "/"}
        return {"name": name, "payload": payload, "router_data": router, "token": self.token}


def _snake(class_name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in class_name).lstrip("_")
