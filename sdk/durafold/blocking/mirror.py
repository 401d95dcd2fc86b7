"""How a blocking class is made from an asynchronous one, without repeating it.

A blocking class (a face) holds the asynchronous object and names its methods, one line each:

    @face_of(client.DurableStream)
    class DurableStream(Face[client.DurableStream]):
        head = waits(client.DurableStream.head)
        follow = makes(client.DurableStream.follow, Follower)

Names, arguments, defaults and results are those of the asynchronous method, for type checkers too:
`ParamSpec` does that. `face_of` takes docstrings over, without the words that belong to asynchronous code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from types import MethodType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, overload

from durafold.blocking.portal import Portal, shared_portal

__all__ = ["Face", "Mirrored", "calls", "face_of", "makes", "waits", "waits_for"]

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
X = TypeVar("X")
C = TypeVar("C", bound=type)


class Face(Generic[A]):
    """Base of the blocking classes.

    Args:
        target: the asynchronous object.
        portal: where it lives. Default: the portal of this process.
    """

    def __init__(self, target: A, portal: Portal | None = None) -> None:
        self._target = target
        self._portal = portal or shared_portal()

    @classmethod
    def of(cls, target: A, portal: Portal) -> Self:
        """A face of an object that exists already."""
        face = cls.__new__(cls)
        Face.__init__(face, target, portal)
        return face

    def __repr__(self) -> str:
        return f"blocking {self._target!r}"


class Mirrored(Generic[P, R]):
    """A method of a face.

    Args:
        method: the asynchronous class's.
        invoke: does it: (face, arguments ...) -> result.
    """

    def __init__(self, method: Callable[..., Any], invoke: Callable[..., R]) -> None:
        invoke.__name__ = method.__name__
        invoke.__qualname__ = method.__qualname__
        invoke.__doc__ = blocking_words(method.__doc__)
        vars(invoke)["__signature__"] = inspect.signature(method)
        self._function = invoke

    @overload
    def __get__(self, face: None, owner: type) -> Callable[Concatenate[Any, P], R]: ...
    @overload
    def __get__(self, face: Face[Any], owner: type) -> Callable[P, R]: ...
    def __get__(self, face: Face[Any] | None, owner: type) -> Callable[..., R]:
        return self._function if face is None else MethodType(self._function, face)


def waits(method: Callable[Concatenate[Any, P], Awaitable[R]]) -> Mirrored[P, R]:
    """A method that waits for an asynchronous one."""

    def invoke(face: Face[Any], *args: P.args, **kwargs: P.kwargs) -> R:
        return face._portal.run(lambda: method(face._target, *args, **kwargs))

    return Mirrored(method, invoke)


def waits_for(
    method: Callable[Concatenate[Any, P], Awaitable[X]], face_class: Callable[[X, Portal], R]
) -> Mirrored[P, R]:
    """A method that waits for an asynchronous one and gives a face of its result."""

    def invoke(face: Face[Any], *args: P.args, **kwargs: P.kwargs) -> R:
        result = face._portal.run(lambda: method(face._target, *args, **kwargs))
        return face_class(result, face._portal)

    return Mirrored(method, invoke)


def calls(method: Callable[Concatenate[Any, P], R]) -> Mirrored[P, R]:
    """A method that calls an ordinary one in the loop's thread."""

    def invoke(face: Face[Any], *args: P.args, **kwargs: P.kwargs) -> R:
        return face._portal.call(lambda: method(face._target, *args, **kwargs))

    return Mirrored(method, invoke)


def makes(method: Callable[Concatenate[Any, P], X], face_class: Callable[[X, Portal], R]) -> Mirrored[P, R]:
    """A method that calls an ordinary one in the loop's thread and gives a face of its result."""

    def invoke(face: Face[Any], *args: P.args, **kwargs: P.kwargs) -> R:
        result = face._portal.call(lambda: method(face._target, *args, **kwargs))
        return face_class(result, face._portal)

    return Mirrored(method, invoke)


def face_of(target: type) -> Callable[[C], C]:
    """Take the docstrings of the asynchronous class over wherever the face has none."""

    def decorate(face: C) -> C:
        if not vars(face).get("__doc__"):
            face.__doc__ = blocking_words(target.__doc__)
        for name, member in vars(face).items():
            original = getattr(target, name, None)
            is_documentable = isinstance(member, property) or inspect.isfunction(member)
            if is_documentable and original is not None and not member.__doc__:
                member.__doc__ = blocking_words(original.__doc__)
        return face

    return decorate


def blocking_words(text: str | None) -> str | None:
    """Documentation of asynchronous code as that of blocking code."""
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text) if text else text
    return text


_WORDS: Final = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?s)\n\n +Examples?:\n.*\Z", ""),  # they are run as asynchronous code
        (r"\bAwait it for\b", "Call `wait` for"),
        (r"\bAn asynchronous\b", "An"),
        (r"\ban asynchronous\b", "an"),
        (r"\basync (with|for|def)\b", r"\1"),
        (r"`await ", "`"),
        (r"\bawait ", ""),
        (r"\banext\(", "next("),
        (r"\baclose\b", "close"),
        (r"\bOnly one\s+task\b", "Only one thread"),
        (r"the task that enters it, and for those started from it", "the thread that enters it"),
    )
]
