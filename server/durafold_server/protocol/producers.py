"""Idempotent producers: epoch fencing, sequence numbers, duplicates (PROTOCOL §5.2.1), and whose they are."""

from __future__ import annotations

import re
from typing import Final

from durafold.wire import names
from durafold_server.protocol.errors import InvalidRequest, ProducerGap, ProducerTaken, StaleEpoch
from durafold_server.protocol.model import ProducerClaim, ProducerState

_INTEGER: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
MAX_PRODUCER_ID_LENGTH: Final = 1024
NOBODY: Final = b""
"""The mark of a sender whom access control does not know."""


def parse_claim(producer_id: str | None, epoch: str | None, seq: str | None) -> ProducerClaim | None:
    """The producer headers of a request, or None if it has none.

    Raises:
        InvalidRequest: not all three are given, the id is empty or too long, or a number is malformed.
    """
    if producer_id is None and epoch is None and seq is None:
        return None
    if producer_id is None or epoch is None or seq is None:
        raise InvalidRequest(
            f"{names.PRODUCER_ID}, {names.PRODUCER_EPOCH} and {names.PRODUCER_SEQ} go together: "
            "send all three or none."
        )
    if not 0 < len(producer_id) <= MAX_PRODUCER_ID_LENGTH:
        raise InvalidRequest(f"{names.PRODUCER_ID} must have 1 to {MAX_PRODUCER_ID_LENGTH} characters.")
    return ProducerClaim(producer_id, _parse(names.PRODUCER_EPOCH, epoch), _parse(names.PRODUCER_SEQ, seq))


def owner_after(claim: ProducerClaim, known: ProducerState | None, sender: bytes | None) -> bytes | None:
    """Whom a producer belongs to once a request of it was carried out: the identity that used it first.

    Args:
        claim: the request's producer headers.
        known: what is known of the producer.
        sender: the mark of who sends the request; None where producers belong to nobody.

    Raises:
        ProducerTaken: it belongs to another identity.
    """
    owner = known.owner if known is not None else None
    if sender is None:
        return owner
    if owner is None:
        return sender or None
    if sender != owner:
        raise ProducerTaken(claim.producer_id)
    return owner


def is_duplicate(claim: ProducerClaim, known: ProducerState | None) -> bool:
    """Whether the append was accepted before; a duplicate is a success, not an error.

    Raises:
        StaleEpoch: a newer epoch of this producer exists.
        InvalidRequest: a new epoch that does not begin at sequence number 0.
        ProducerGap: at least one sequence number was skipped.
    """
    if known is not None and claim.epoch < known.epoch:
        raise StaleEpoch(known.epoch)
    if known is None or claim.epoch > known.epoch:
        return _begin_epoch(claim, known)
    if claim.seq > known.last_seq + 1:
        raise ProducerGap(expected=known.last_seq + 1, received=claim.seq)
    return claim.seq <= known.last_seq


def _begin_epoch(claim: ProducerClaim, known: ProducerState | None) -> bool:
    if claim.seq == 0:
        return False
    if known is None:
        # An unknown producer has no epoch to bump; what it lacks is the beginning of its sequence.
        raise ProducerGap(expected=0, received=claim.seq)
    raise InvalidRequest(f"A new epoch must begin at {names.PRODUCER_SEQ} 0, not {claim.seq}.")


def _parse(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text) or int(text) > names.MAX_SAFE_INTEGER:
        raise InvalidRequest(f"{name} must be a whole number from 0 to {names.MAX_SAFE_INTEGER}.")
    return int(text)
