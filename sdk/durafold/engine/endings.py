"""Why something ended: the errors in which actions and streams tell it. Nothing is decided here."""

from __future__ import annotations

from durafold.errors import ActionRejected, ProviderClosed, StateError, StreamGone, Unprocessable
from durafold.state.outcomes import Outcome, Reject
from durafold.state.replica import Fault

__all__ = ["gone", "halted", "innermost", "refused", "rejected", "trimmed"]


def rejected(key: str, outcome: Outcome) -> ActionRejected:
    """The reducer refused an own action at its place in the log, or could not handle it."""
    error = outcome.error
    reason = error.reason if isinstance(error, Reject) else f"it could not be folded: {error!r}"
    return _because(key, reason, error)


def refused(key: str, error: Exception) -> Exception:
    """The server did not take an own action; if its reducer said so, it is as if a replica had folded it."""
    if not isinstance(error, Unprocessable) or error.reason is None:
        return error
    is_reject = error.verdict == "rejected"
    return _because(key, error.reason if is_reject else f"it could not be folded: {error.reason}", error)


def _because(key: str, reason: str, cause: Exception | None) -> ActionRejected:
    refusal = ActionRejected(reason, stream=key)
    refusal.__cause__ = cause
    return refusal


def halted(key: str, fault: Fault, error: Exception) -> StateError:
    """A message cannot be folded, and the stream is not to be followed past it."""
    stopped = StateError(
        f"Message {fault.position} cannot be folded: {fault.reason}",
        stream=key,
        offset=fault.offset,
        hint='Correct the reducer, or open the provider with on_fault="skip"',
    )
    stopped.__cause__ = error
    return stopped


def gone(key: str, crash: Exception | None, when: str = "") -> StateError:
    """The stream is not followed any more: by a crash, or because its provider was closed."""
    if crash is not None:
        return StateError(f"The stream is not followed any more: {crash}", stream=key)
    return ProviderClosed(f"The provider was closed {when}".rstrip(), stream=key)


def innermost(error: Exception) -> Exception:
    """The one error in a group of one, as task groups raise it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def trimmed(key: str, error: StreamGone) -> StreamGone:
    """The server has dropped messages that were not folded: to go on behind them would give another state."""
    gap = StreamGone(
        "Messages that were not read yet are no longer kept, and no snapshot covers them",
        earliest_offset=error.earliest_offset,
        stream=key,
        offset=error.offset,
        hint="Have clients write snapshots, Provider(snapshots=SnapshotPolicy()), or keep more of the stream",
    )
    gap.__cause__ = error
    return gap
