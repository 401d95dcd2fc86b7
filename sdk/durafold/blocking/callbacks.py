"""`Callbacks`: the thread in which the callbacks of a blocking provider run.

It is neither the event loop's, so that a callback may make any blocking call, nor one of the user's, which
may be waiting. Callbacks come one at a time, in the order in which they came due.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Final, TypeVar

from durafold.errors import ConfigurationError

__all__ = ["Callbacks", "Subscription"]

X = TypeVar("X")

_logger: Final = logging.getLogger("durafold.blocking")


class Callbacks:
    """One thread that runs callbacks."""

    def __init__(self) -> None:
        self._due: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Reentrant, and the queue is too: `post` is also called by finalizers, which run anywhere.
        self._lock = threading.RLock()
        self._has_ended = False

    def start(self) -> None:
        """Begin; what was posted before is run first."""
        self._thread = threading.Thread(target=self._work, name="durafold-callbacks", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Run what is due, and end. A callback may call it too, and does not wait for itself."""
        self._due.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def post(self, call: Callable[[], object]) -> None:
        """Have something run in the thread soon; after its end, at once. What it raises is logged."""
        with self._lock:
            if not self._has_ended:
                self._due.put(call)
                return
        _run(call)

    def posting(self, function: Callable[[X], object] | None) -> Callable[[X], None] | None:
        """A function that has `function` called in the thread."""
        if function is None:
            return None
        return lambda argument: self.post(partial(function, argument))

    def _work(self) -> None:
        while (call := self._due.get()) is not None:
            _run(call)
        with self._lock:
            self._has_ended = True
        while not self._due.empty():
            if (call := self._due.get()) is not None:
                _run(call)


class Subscription:
    """One callback. However often it is told of changes while it has not run, it is called once for all.

    Args:
        callbacks: where it runs.
        callback: a plain function. It sees the context variables of whoever subscribes.
        report: is given what it raises.

    Raises:
        ConfigurationError: the callback is asynchronous.
    """

    def __init__(
        self, callbacks: Callbacks, callback: Callable[[], None], report: Callable[[Exception], None]
    ) -> None:
        if inspect.iscoroutinefunction(callback):
            raise ConfigurationError(
                "A callback must be a plain function", hint="Use `for value in handle.changes()`"
            )
        self._callbacks = callbacks
        self._callback = callback
        self._report = report
        self._context = contextvars.copy_context()
        self._is_due = False
        self._is_active = True

    def tell(self) -> None:
        """Something has changed; called in the loop's thread."""
        if not self._is_due:
            self._is_due = True
            self._callbacks.post(self._call)

    def end(self) -> None:
        """Call it no more; a call that has begun goes on."""
        self._is_active = False

    def _call(self) -> None:
        self._is_due = False
        if not self._is_active:
            return
        try:
            self._context.run(self._callback)
        except Exception as error:  # noqa: BLE001 - one bad callback must not stop the others
            self._report(error)


def _run(call: Callable[[], object]) -> None:
    try:
        call()
    except (Exception, SystemExit):  # sys.exit() would end the thread, and no other callback would run again
        _logger.exception("A callback raised")
