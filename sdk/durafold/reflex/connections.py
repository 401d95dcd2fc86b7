"""`use_connection` for Reflex: whether a page is up to date, for a banner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import reflex as rx

from durafold.reflex._internals import tab_of
from durafold.reflex.classes import HUB, state_class, uncached

if TYPE_CHECKING:
    from durafold.reflex._types import (  # pyright: ignore[reportMissingModuleSource] - types only
        ConnectionClass,
    )

__all__ = ["use_connection"]


def use_connection(*, name: str = "Connection") -> type[ConnectionClass]:
    """How a page stands with everything durable that it shows.

    Call it at module level.

        Connection = use_connection()

        rx.cond(
            Connection.status == "offline",
            rx.callout(Connection.reason, " ", Connection.pending, " changes will be sent later."),
        )

    The class has these vars:

    - `status`: `live`; `connecting` when the app has just started; `reconnecting` when a connection was lost
      a moment ago; `offline` when it is not back after five seconds, or the server refuses a stream.
    - `reason`: why it is offline, in words for people; otherwise empty.
    - `pending`: how many changes made in this app are not confirmed yet.

    It is about the way between the app and the stream server. When the way between browser and app is lost,
    Reflex says so itself.

    Args:
        name: name of the class, unique in its module.
    """

    def var(of: str, var_type: Any, initial: Any) -> Any:
        def getter(state: rx.State) -> Any:
            return getattr(HUB.connection(tab_of(state)), of)

        return uncached(of, var_type, initial, getter)

    members = {
        "status": var("status", str, "connecting"),
        "reason": var("reason", str, ""),
        "pending": var("pending", int, 0),
    }
    return cast("type[ConnectionClass]", state_class(name, name, members))
