"""What the adapter needs of Reflex beyond its documented API. Nothing else in the SDK may reach that far.

Five things: whether an app is about to run, which tabs have a live socket, which tab a state instance belongs
to, what is in the address of its page, and an empty state modification, which makes Reflex recompute the
uncached vars of a tab and send those that changed. They were read off Reflex 0.10, whose internals moved with
every minor release so far; hence the check at import.

A tab and its page are read for every var of every refresh. So they are not read through `state.router`, which
puts together all that is known of a request: that was two thirds of what evaluating our vars took.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version

# Named here, Reflex loads what it loads lazily now and not in whichever task asks first: it registers state
# classes in a context variable.
from reflex import App, BaseStateToken, State

from durafold.errors import ConfigurationError

__all__ = ["connected_tabs", "is_run", "refresh", "require_supported_reflex", "route_parameters_of", "tab_of"]

SUPPORTED_SERIES = "0.10."


def require_supported_reflex(installed: str | None = None) -> None:
    """Refuse a Reflex whose internals this file does not know.

    Args:
        installed: version to judge; the installed one by default.

    Raises:
        ConfigurationError: it is not of the supported series.
    """
    installed = installed or version("reflex")
    if not installed.startswith(SUPPORTED_SERIES):
        raise ConfigurationError(
            f"durafold.reflex works with Reflex {SUPPORTED_SERIES}x, but {installed} is installed",
            hint="Run: pip install 'durafold[reflex]'",
        )


def is_run() -> bool:
    """Whether this process belongs to `reflex run`, and not to another command that imports the app.

    The processes that compile and that work have the arguments of the command, however they were started.
    """
    return "run" in sys.argv[1:]


def connected_tabs(app: App) -> frozenset[str]:
    """Client tokens of the tabs that have a socket to this process now."""
    namespace = app.event_namespace
    return frozenset(namespace.token_to_sid) if namespace is not None else frozenset()


def tab_of(state: State) -> str:
    """Client token of the tab a state instance belongs to; empty while Reflex compiles or sets up."""
    token: str = state.rx_router_session.client_token
    return token


def route_parameters_of(state: State) -> Mapping[str, object]:
    """What stands in the address of the page that a tab shows: `room` of `/rooms/[room]`, and its query."""
    parameters: Mapping[str, object] = state.rx_router_page.params
    return parameters


async def refresh(app: App, tab: str) -> None:
    """Let one tab recompute its uncached vars; Reflex sends it those that changed, or nothing.

    Waits while an event handler of that tab holds its state.
    """
    async with app.modify_state(BaseStateToken(ident=tab, cls=State)):
        pass
