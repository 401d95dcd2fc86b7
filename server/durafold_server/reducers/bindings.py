"""Which streams are bound to which reducer.

Bindings are written in the settings, `--bind 'stock/*=app.reducers:stock'`, or beside the reducers, in a
module that `--reducers` names:

    durafold_bindings = {"stock/*": stock, "todos": todos_atom}

Patterns are those of subscriptions: `*` is one segment of a path, `**` any number of them. The first binding
that matches counts, those of the settings before those of modules. Streams that others keep beside a stream,
such as its snapshots (`todos/__snapshot__/…`), are never bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from durafold.named import described, imported, named_reducer
from durafold_server.protocol.errors import ProtocolError
from durafold_server.reducers.registered import MAPPING, Registered, UnknownReducer, register_for_streams
from durafold_server.subscriptions.errors import InvalidSubscription
from durafold_server.subscriptions.patterns import Pattern

__all__ = ["MAPPING", "Binding", "Bindings", "load_bindings"]

_REMEMBERED_PATHS: Final = 4096


@dataclass(frozen=True, slots=True)
class Binding:
    """Streams whose path matches a pattern are bound to a reducer."""

    pattern: Pattern
    reducer: Registered


class Bindings:
    """All bindings of a server; what matches first counts."""

    def __init__(self, bindings: Sequence[Binding]) -> None:
        self._bindings = tuple(bindings)
        # Asked for every append, and mostly about the same streams.
        self.of = lru_cache(maxsize=_REMEMBERED_PATHS)(self._find)
        """The reducer that a path is bound to, or None."""

    def __bool__(self) -> bool:
        return bool(self._bindings)

    def _find(self, path: str) -> Registered | None:
        if any(_is_companion(segment) for segment in path.split("/")):
            return None
        return next((one.reducer for one in self._bindings if one.pattern.matches(path)), None)


def load_bindings(specs: Iterable[str], modules: Iterable[str] = ()) -> Bindings:
    """The bindings that settings and modules ask for.

    Args:
        specs: `PATTERN=module:name` each.
        modules: `module` or `module:name` each; modules that have `durafold_bindings` are asked for it.

    Raises:
        UnknownReducer: one is malformed, or what it names is no reducer that can be used.
    """
    found: dict[str, Binding] = {}
    for spec in specs:
        _add(found, _written(spec))
    for module in dict.fromkeys(spec.partition(":")[0] for spec in modules):
        for binding in _declared(module):
            _add(found, binding)
    return Bindings(list(found.values()))


def _add(found: dict[str, Binding], binding: Binding) -> None:
    known = found.setdefault(binding.pattern.text, binding)
    if known.reducer.fingerprint != binding.reducer.fingerprint:
        raise UnknownReducer(
            f"{binding.pattern.text} is bound to {known.reducer.name} and to {binding.reducer.name}: "
            "a stream has one reducer"
        )


def _written(spec: str) -> Binding:
    pattern, _, place = spec.rpartition("=")
    if not pattern or ":" not in place:
        raise UnknownReducer(
            f"{spec!r} is no binding: write PATTERN=module:name, such as stock/*=app.reducers:stock"
        )
    return Binding(_pattern(pattern), register_for_streams(named_reducer(place)))


def _declared(module_name: str) -> list[Binding]:
    module = imported(module_name)
    mapping = getattr(module, MAPPING, {})
    if not isinstance(mapping, Mapping):
        raise UnknownReducer(f"{MAPPING} of {module_name} must be a mapping of patterns to reducers")
    return [
        Binding(_pattern(str(pattern)), register_for_streams(described(_name(module, given), given)))
        for pattern, given in mapping.items()
    ]


def _name(module: Any, given: Any) -> str:
    """Under which name a module has something, for people."""
    names = (name for name, value in vars(module).items() if value is given)
    return f"{module.__name__}:{next(names, type(given).__name__)}"


def _pattern(text: str) -> Pattern:
    try:
        return Pattern(text.removeprefix("/"))
    except (InvalidSubscription, ProtocolError) as exc:
        raise UnknownReducer(f"{text!r} is no pattern of streams: {exc.message}") from exc


def _is_companion(segment: str) -> bool:
    return len(segment) > 4 and segment.startswith("__") and segment.endswith("__")
