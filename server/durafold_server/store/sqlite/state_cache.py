"""The states of streams as last committed, for as many streams as there is room for."""

from __future__ import annotations

from collections import OrderedDict

from durafold_server.protocol.model import StreamState


class StateCache:
    """A bounded cache of stream states by path; those written or fetched longest ago go first.

    The writer thread puts, drops and trims; the event loop looks. To find nothing means nothing: the state is
    in the file then.

    Args:
        max_streams: kept by `trim`; some 0.6 kB each.
    """

    def __init__(self, max_streams: int = 65_536) -> None:
        self._max_streams = max_streams
        # In order of `put`. A dict would look for its oldest entry among the places of all that went before.
        self._states: OrderedDict[str, StreamState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, path: str) -> StreamState | None:
        """The stream at a path, if its state is here."""
        return self._states.get(path)

    def put(self, stream: StreamState) -> None:
        """Keep a stream's state."""
        self._states[stream.path] = stream
        self._states.move_to_end(stream.path)

    def drop(self, path: str) -> None:
        """The stream was removed."""
        self._states.pop(path, None)

    def trim(self) -> None:
        """Make room. Not while a batch is under way: it compares what it writes with what was here before."""
        while len(self._states) > self._max_streams:
            self._states.popitem(last=False)
