"""Shared, durable state in Reflex apps.

    from durafold.reflex import mount, use_server_reducer, use_server_state

    Counter = use_server_state(0, "demo/counter")           # an rx.State class

    def index():
        return rx.button(Counter.value, on_click=Counter.increment(1))

    app = mount(rx.App())
    app.add_page(index)

`use_server_state` and `use_server_reducer` return an `rx.State` class with these vars:

- `value`: the shared state; changes made here show at once, before they are confirmed.
- `status`: how the app stands with the stream server: `connecting`, `live`, `reconnecting`, `degraded`,
  `closed` or `failed`.
- `pending`: how many changes made in this app are not confirmed yet.

A key may have parameters, which the address of the page fills in: with `use_server_state("", "rooms/[room]")`
and the route `/rooms/[room]`, every room has a stream of its own, opened while somebody looks at it.
Parameters that no browser may choose, such as the user's name, come from the app: `parameters={"user": ...}`.

`use_atom` makes such a class of what `durafold.atom`, `atom_family`, `reducer_atom`, `derived` or `select`
declare, and `class Page(DurableState, store=...)` is the same with vars and handlers of your own.
`use_presence` is about who else looks at a page, `use_connection` about whether all this is up to date.

Tabs attach when they first read a var, and are forgotten when their socket is gone: besides `mount`, nothing
needs to be called.

A subclass can add computed vars over them (`@rx.var(cache=False)`, reading `self.value`); for these there is
also `self.confirmed`, the state without unconfirmed changes. Every state class of an app is sent to every
page, so a large state is better served by a computed var that picks what the page shows.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if find_spec("reflex") is None:
    raise ModuleNotFoundError('durafold.reflex needs Reflex: pip install "durafold[reflex]"', name="reflex")

from durafold.reflex.app import mount
from durafold.reflex.atoms import use_atom
from durafold.reflex.connections import use_connection
from durafold.reflex.embed import embed_server
from durafold.reflex.presence import use_presence
from durafold.reflex.states import use_server_reducer, use_server_state

if TYPE_CHECKING:
    from durafold.reflex._types import DurableState  # pyright: ignore[reportMissingModuleSource] - types only
else:
    from durafold.reflex.declared import DurableState

__all__ = [
    "DurableState",
    "embed_server",
    "mount",
    "use_atom",
    "use_connection",
    "use_presence",
    "use_server_reducer",
    "use_server_state",
]
