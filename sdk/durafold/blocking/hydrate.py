"""The faces of `load_stream_with_reducer` and `load_streams`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from durafold import hydrate
from durafold.blocking.callables import in_threads
from durafold.blocking.mirror import blocking_words
from durafold.blocking.portal import shared_portal

__all__ = ["load_stream_with_reducer", "load_streams"]

P = ParamSpec("P")
R = TypeVar("R")


def _loads(load: Callable[P, Awaitable[R]]) -> Callable[P, R]:
    """The same function for plain Python; those for headers and parameters run in worker threads."""

    @wraps(load)
    def face(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in ("headers", "params"):
            kwargs[name] = in_threads(kwargs.get(name))  # type: ignore[arg-type]
        return shared_portal().run(lambda: load(*args, **kwargs))

    face.__doc__ = blocking_words(load.__doc__)
    return face


load_stream_with_reducer = _loads(hydrate.load_stream_with_reducer)
load_streams = _loads(hydrate.load_streams)
