"""Idempotent producers: the header triple, fencing, duplicates and gaps (PROTOCOL §5.2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold_server.protocol.errors import (
    InvalidRequest,
    ProducerGap,
    ProducerTaken,
    ProtocolError,
    StaleEpoch,
)
from durafold_server.protocol.model import ProducerClaim, ProducerState
from durafold_server.protocol.producers import NOBODY, is_duplicate, owner_after, parse_claim


def test_a_request_without_producer_headers_makes_no_claim() -> None:
    assert parse_claim(None, None, None) is None


@pytest.mark.parametrize(
    ("producer_id", "epoch", "seq", "claim"),
    [
        ("p", "0", "0", ("p", 0, 0)),
        ("order service/1 é", "3", "17", ("order service/1 é", 3, 17)),
        ("p", "9007199254740991", "9007199254740991", ("p", 2**53 - 1, 2**53 - 1)),
        ("x" * 1024, "0", "0", ("x" * 1024, 0, 0)),
    ],
)
def test_a_claim_is_id_epoch_and_sequence_number(
    producer_id: str, epoch: str, seq: str, claim: tuple[str, int, int]
) -> None:
    assert parse_claim(producer_id, epoch, seq) == ProducerClaim(*claim)


@pytest.mark.parametrize(
    "headers",
    [
        ("p", None, None),
        (None, "0", None),
        (None, None, "0"),
        ("p", "0", None),
        ("p", None, "0"),
        (None, "0", "0"),
    ],
)
def test_the_three_headers_go_together(headers: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(InvalidRequest, match="all three or none"):
        parse_claim(*headers)


@pytest.mark.parametrize("producer_id", ["", "x" * 1025])
def test_a_producer_id_has_1_to_1024_characters(producer_id: str) -> None:
    with pytest.raises(InvalidRequest, match="Producer-Id"):
        parse_claim(producer_id, "0", "0")


@pytest.mark.parametrize(
    "number",
    [
        "",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "0xyz",
        "0x1",
        "1_0",
        " 1",
        "1 ",
        "1\n",
        "a",
        "٣",
        "²",
        "１",
        "9007199254740992",
        "9" * 17,
        "9" * 5000,
    ],
)
def test_epoch_and_sequence_number_are_plain_decimal_and_safe_in_javascript(number: str) -> None:
    with pytest.raises(InvalidRequest, match="Producer-Epoch"):
        parse_claim("p", number, "0")
    with pytest.raises(InvalidRequest, match="Producer-Seq"):
        parse_claim("p", "0", number)


@pytest.mark.parametrize(
    ("epoch", "seq", "known"),
    [
        pytest.param(0, 0, None, id="the first append of a new producer"),
        pytest.param(7, 0, None, id="a new producer may begin with any epoch"),
        pytest.param(0, 4, ProducerState(0, 3), id="the next number"),
        pytest.param(1, 0, ProducerState(0, 3), id="a new epoch"),
        pytest.param(9, 0, ProducerState(0, 3), id="a new epoch may skip some"),
    ],
)
def test_a_new_append_is_accepted(epoch: int, seq: int, known: ProducerState | None) -> None:
    assert is_duplicate(ProducerClaim("p", epoch, seq), known) is False


@pytest.mark.parametrize("seq", [0, 2, 3])
def test_an_accepted_number_again_is_a_duplicate(seq: int) -> None:
    assert is_duplicate(ProducerClaim("p", 0, seq), ProducerState(0, 3)) is True


@pytest.mark.parametrize("seq", [0, 3, 4, 100])
def test_an_older_epoch_is_fenced_whatever_its_number(seq: int) -> None:
    with pytest.raises(StaleEpoch) as refusal:
        is_duplicate(ProducerClaim("p", 4, seq), ProducerState(5, 3))

    assert refusal.value.status == 403
    assert refusal.value.headers == (("Producer-Epoch", "5"),)


@pytest.mark.parametrize(
    ("seq", "known", "expected"),
    [(5, ProducerState(0, 3), "4"), (1, None, "0"), (2, ProducerState(0, 0), "1")],
)
def test_a_skipped_number_is_a_gap(seq: int, known: ProducerState | None, expected: str) -> None:
    with pytest.raises(ProducerGap) as refusal:
        is_duplicate(ProducerClaim("p", 0, seq), known)

    assert refusal.value.status == 409
    assert refusal.value.headers == (
        ("Producer-Expected-Seq", expected),
        ("Producer-Received-Seq", str(seq)),
    )


def test_a_new_epoch_must_begin_at_zero() -> None:
    with pytest.raises(InvalidRequest, match="must begin at Producer-Seq 0"):
        is_duplicate(ProducerClaim("p", 1, 1), ProducerState(0, 3))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=30))
def test_what_is_accepted_is_gapless_within_an_epoch_and_epochs_only_grow(
    claims: list[tuple[int, int]],
) -> None:
    known: ProducerState | None = None
    accepted: list[tuple[int, int]] = []
    for epoch, seq in claims:
        try:
            duplicate = is_duplicate(ProducerClaim("p", epoch, seq), known)
        except ProtocolError:
            continue
        if duplicate:
            assert (epoch, seq) in accepted
        else:
            accepted.append((epoch, seq))
            known = ProducerState(epoch, seq)

    assert accepted == sorted(set(accepted))
    for epoch in {epoch for epoch, _ in accepted}:
        numbers = [seq for of, seq in accepted if of == epoch]
        assert numbers == list(range(len(numbers)))


CLAIM = ProducerClaim("p", 0, 4)


@pytest.mark.parametrize(
    ("known", "sender", "owner"),
    [
        pytest.param(None, b"ada", b"ada", id="new"),
        pytest.param(ProducerState(0, 3), b"ada", b"ada", id="used, but by nobody known"),
        pytest.param(ProducerState(0, 3, b"ada"), b"ada", b"ada", id="one's own"),
        pytest.param(None, NOBODY, None, id="new, used by nobody known"),
        pytest.param(ProducerState(0, 3), NOBODY, None, id="nobody's, used by nobody known"),
        pytest.param(None, None, None, id="where producers belong to nobody"),
        pytest.param(ProducerState(0, 3, b"ada"), None, b"ada", id="where they do so no longer"),
    ],
)
def test_a_producer_belongs_to_the_identity_that_used_it_first(
    known: ProducerState | None, sender: bytes | None, owner: bytes | None
) -> None:
    assert owner_after(CLAIM, known, sender) == owner


@pytest.mark.parametrize("sender", [b"bob", NOBODY])
def test_a_producer_of_one_identity_is_not_for_another(sender: bytes) -> None:
    with pytest.raises(ProducerTaken, match="'p' belongs to another identity"):
        owner_after(CLAIM, ProducerState(0, 3, b"ada"), sender)
