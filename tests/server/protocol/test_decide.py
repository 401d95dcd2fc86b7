"""(state, request, time) → decision: what is written, what is answered, and which condition wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from msgspec.structs import replace

from durafold_server.protocol import decide
from durafold_server.protocol.decide import Appended, Created
from durafold_server.protocol.errors import (
    ContentTypeMismatch,
    EmptyBody,
    Gone,
    InvalidJson,
    InvalidRequest,
    NotFound,
    ProducerGap,
    ProducerTaken,
    ProtocolError,
    StaleEpoch,
    StreamExists,
    StreamIsClosed,
    StreamSeqRegressed,
)
from durafold_server.protocol.model import (
    AppendData,
    Decision,
    Fork,
    Lifetime,
    Loaded,
    Mode,
    Payload,
    ProducerClaim,
    ProducerState,
    RemoveStream,
    SaveProducer,
    SaveStream,
    Segment,
    StreamState,
)
from durafold_server.protocol.requests import CreateRequest
from support.server_requests import JSON, TEXT, append_request, create_request

NOW: Final = 1_800_000_000_000_000
STREAM: Final = StreamState(
    id=7, path="s", content_type="text/plain", mode=Mode.TEXT, tail=10, used_us=NOW - 1
)
JSON_STREAM: Final = replace(STREAM, content_type="application/json", mode=Mode.JSON)
CLOSED: Final = replace(STREAM, closed=True)
DELETED: Final = replace(STREAM, deleted=True, forks=1)
EXPIRED: Final = replace(STREAM, lifetime=Lifetime(ttl_s=1), used_us=NOW - 1_000_000)
CLAIM: Final = {"producer_id": "p", "producer_epoch": "0", "producer_seq": "3"}
KNOWN: Final = ProducerState(0, 2)


def append(
    stream: StreamState | None, body: bytes = b"x", known: ProducerState | None = None, /, **headers: str
) -> Decision[Appended]:
    return decide.append(append_request("s", body, **headers), Loaded(stream, known), NOW)


def create(
    found: StreamState | None, request: CreateRequest, *others: StreamState | None, fork_at: int | None = None
) -> Decision[Created]:
    return decide.create(request, [Loaded(stream) for stream in (found, *others)], NOW, fork_at=fork_at)


def fork_of(
    source: StreamState, at: int, *, requested: str | None = None, sub_offset: int = 0
) -> StreamState:
    """A fork at path `f` that has appended nothing yet."""
    place = Fork(source.path, source.id, requested, sub_offset, at, (Segment(source.id, at),))
    return replace(
        source, id=8, path="f", tail=at, fork=place, closed=False, last_seq=None, forks=0, deleted=False
    )


# Which streams clients can see


@pytest.mark.parametrize(
    ("stream", "error"),
    [(None, NotFound), (EXPIRED, NotFound), (DELETED, Gone), (replace(EXPIRED, deleted=True), NotFound)],
)
def test_a_stream_that_is_gone_takes_no_request(
    stream: StreamState | None, error: type[ProtocolError]
) -> None:
    with pytest.raises(error):
        decide.living(stream, NOW)
    with pytest.raises(error):
        append(stream, content_type=TEXT)
    with pytest.raises(error):
        append(stream, b"", stream_closed="true")
    with pytest.raises(error):
        decide.delete([Loaded(stream)], NOW)


# Append


def test_an_append_moves_the_tail_and_writes_data_and_state_together() -> None:
    decision = append(STREAM, b"abc", content_type=TEXT)

    after = replace(STREAM, tail=13, used_us=NOW)
    assert decision == Decision(
        [SaveStream(after), AppendData(7, 10, Payload(b"abc", 1))],
        Appended(after, changed=True, added_data=True),
    )


def test_an_append_with_everything_is_one_set_of_writes() -> None:
    decision = append(STREAM, b"abc", KNOWN, content_type=TEXT, stream_seq="b", stream_closed="true", **CLAIM)

    claim = ProducerClaim("p", 0, 3)
    after = replace(STREAM, tail=13, used_us=NOW, closed=True, closed_by=claim, last_seq="b")
    assert decision.writes == [
        SaveStream(after),
        AppendData(7, 10, Payload(b"abc", 1)),
        SaveProducer(7, "p", ProducerState(0, 3)),
    ]
    assert decision.result == Appended(after, True, True, claim, 3)


def sent_by(sender: bytes, known: ProducerState | None, epoch: str, seq: str) -> Decision[Appended]:
    claim = {"producer_id": "p", "producer_epoch": epoch, "producer_seq": seq}
    request = replace(append_request("s", b"abc", content_type=TEXT, **claim), sender=sender)
    return decide.append(request, Loaded(STREAM, known), NOW)


def test_an_append_notes_whose_its_producer_is() -> None:
    assert SaveProducer(7, "p", ProducerState(0, 0, b"ada")) in sent_by(b"ada", None, "0", "0").writes


@pytest.mark.parametrize(("epoch", "seq"), [("0", "3"), ("1", "0"), ("0", "2"), ("0", "9")])
def test_whoever_it_does_not_belong_to_learns_nothing_of_a_producer(epoch: str, seq: str) -> None:
    with pytest.raises(ProducerTaken):
        sent_by(b"bob", ProducerState(0, 2, b"ada"), epoch, seq)


def test_a_close_writes_no_data() -> None:
    decision = append(STREAM, b"", stream_closed="true")

    after = replace(STREAM, closed=True, used_us=NOW)
    assert decision == Decision([SaveStream(after)], Appended(after, changed=True))


def test_a_json_append_is_stored_as_messages() -> None:
    decision = append(JSON_STREAM, b"[1, 2]", content_type=JSON)

    assert decision.writes[1] == AppendData(7, 10, Payload(b"1,2,", 2))


@pytest.mark.parametrize(
    ("stream_type", "request_type"),
    [
        ("text/plain", "text/plain"),
        ("text/plain", "TEXT/Plain"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/plain; charset=utf-8", "text/plain"),
        ("application/json", "application/json; charset=utf-8"),
        ("application/json; charset=utf-8", "Application/JSON"),
    ],
)
def test_an_append_of_the_same_media_type_fits(stream_type: str, request_type: str) -> None:
    stream = replace(STREAM, content_type=stream_type, mode=Mode.of(stream_type))

    assert append(stream, b"1", content_type=request_type).result.added_data


@pytest.mark.parametrize(
    ("stream_type", "request_type"),
    [
        ("text/plain", "text/html"),
        ("text/plain", "application/json"),
        ("application/json", "text/plain"),
        ("application/json", "application/jsonl"),
        ("application/octet-stream", "text/plain"),
    ],
)
def test_an_append_of_another_media_type_does_not(stream_type: str, request_type: str) -> None:
    stream = replace(STREAM, content_type=stream_type, mode=Mode.of(stream_type))

    with pytest.raises(ContentTypeMismatch):
        append(stream, b"1", content_type=request_type)


@pytest.mark.parametrize(("last", "seq"), [("09", "10"), ("a", "b"), ("a", "aa"), ("Z", "a"), ("2", "\xe9")])
def test_a_greater_stream_seq_is_accepted(last: str, seq: str) -> None:
    decision = append(replace(STREAM, last_seq=last), content_type=TEXT, stream_seq=seq)

    assert decision.result.stream.last_seq == seq


@pytest.mark.parametrize(("last", "seq"), [("2", "10"), ("a", "a"), ("a", "Z"), ("aa", "a"), ("\xe9", "z")])
def test_a_stream_seq_that_is_not_greater_byte_by_byte_is_refused(last: str, seq: str) -> None:
    with pytest.raises(StreamSeqRegressed):
        append(replace(STREAM, last_seq=last), content_type=TEXT, stream_seq=seq)


def test_an_append_without_stream_seq_keeps_the_last_one() -> None:
    assert append(replace(STREAM, last_seq="a"), content_type=TEXT).result.stream.last_seq == "a"


# Producers


def test_a_duplicate_writes_nothing_and_tells_the_highest_number() -> None:
    decision = append(STREAM, b"other", ProducerState(0, 5), content_type=TEXT, **CLAIM)

    assert decision.writes == ()
    assert decision.result == Appended(STREAM, False, False, ProducerClaim("p", 0, 3), 5, duplicate=True)


def test_a_duplicate_is_noticed_before_its_old_stream_seq() -> None:
    stream = replace(STREAM, last_seq="b")

    decision = append(stream, b"x", ProducerState(0, 3), content_type=TEXT, stream_seq="b", **CLAIM)

    assert decision.result.duplicate


def test_a_duplicate_does_not_close() -> None:
    decision = append(STREAM, b"x", ProducerState(0, 3), content_type=TEXT, stream_closed="true", **CLAIM)

    assert decision == Decision(
        (), Appended(STREAM, False, False, ProducerClaim("p", 0, 3), 3, duplicate=True)
    )


def test_a_close_by_a_producer_takes_its_number() -> None:
    decision = append(STREAM, b"", KNOWN, stream_closed="true", **CLAIM)

    assert SaveProducer(7, "p", ProducerState(0, 3)) in decision.writes
    assert not decision.result.added_data


# Closed streams


def test_closing_again_is_a_success_that_writes_nothing() -> None:
    assert append(CLOSED, b"", stream_closed="true") == Decision((), Appended(CLOSED, changed=False))


@pytest.mark.parametrize("body", [b"", b"final", b"another body"])
def test_the_very_request_that_closed_the_stream_is_a_duplicate(body: bytes) -> None:
    claim = ProducerClaim("p", 0, 3)
    stream = replace(CLOSED, closed_by=claim)

    decision = append(stream, body, ProducerState(0, 3), content_type=TEXT, stream_closed="true", **CLAIM)

    assert decision == Decision((), Appended(stream, False, False, claim, 3, duplicate=True))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(b"x", {"content_type": TEXT}, id="append"),
        pytest.param(b"x", {"content_type": TEXT, "stream_closed": "true"}, id="append and close"),
        pytest.param(b"", {}, id="empty body"),
        pytest.param(b"", {"stream_closed": "true", **CLAIM, "producer_seq": "4"}, id="other number"),
        pytest.param(b"", {"stream_closed": "true", **CLAIM, "producer_epoch": "1"}, id="other epoch"),
        pytest.param(b"", {"stream_closed": "true", **CLAIM, "producer_id": "q"}, id="other producer"),
        pytest.param(b"x", {"content_type": TEXT, **CLAIM, "producer_seq": "2"}, id="earlier duplicate"),
    ],
)
def test_anything_else_on_a_closed_stream_is_refused_with_its_final_offset(
    body: bytes, headers: dict[str, str]
) -> None:
    stream = replace(CLOSED, closed_by=ProducerClaim("p", 0, 3))

    with pytest.raises(StreamIsClosed) as refusal:
        append(stream, body, ProducerState(0, 3), **headers)

    assert dict(refusal.value.headers)["Stream-Next-Offset"] == "0000000000000007_0000000000000010"


def test_a_stream_closed_by_nobody_in_particular_knows_no_duplicate() -> None:
    with pytest.raises(StreamIsClosed):
        append(CLOSED, b"", KNOWN, stream_closed="true", **CLAIM)


# Precedence: every request below violates the named condition and all that come after it.

EVERYTHING_WRONG: Final = {
    "content_type": "application/json",
    "stream_seq": "a",
    "producer_id": "p",
    "producer_epoch": "0",
    "producer_seq": "9",
}
STALE: Final = {**EVERYTHING_WRONG, "content_type": TEXT}
GAP: Final = {**STALE, "producer_epoch": "1"}
OLD_SEQ: Final = {**GAP, "producer_seq": "3"}
LAST_SEQ: Final = replace(STREAM, last_seq="b")
EPOCH_1: Final = ProducerState(1, 2)


@pytest.mark.parametrize(
    ("stream", "body", "headers", "error"),
    [
        pytest.param(None, b"{", EVERYTHING_WRONG, NotFound, id="missing"),
        pytest.param(replace(DELETED, closed=True), b"{", EVERYTHING_WRONG, Gone, id="deleted before closed"),
        pytest.param(
            replace(LAST_SEQ, closed=True), b"{", EVERYTHING_WRONG, StreamIsClosed, id="closed before all"
        ),
        pytest.param(LAST_SEQ, b"", EVERYTHING_WRONG, EmptyBody, id="empty body before type"),
        pytest.param(LAST_SEQ, b"{", EVERYTHING_WRONG, ContentTypeMismatch, id="type before bad JSON"),
        pytest.param(LAST_SEQ, b"1", EVERYTHING_WRONG, ContentTypeMismatch, id="type before producer"),
        pytest.param(
            replace(LAST_SEQ, content_type=JSON, mode=Mode.JSON),
            b"{",
            EVERYTHING_WRONG,
            InvalidJson,
            id="bad JSON before producer",
        ),
        pytest.param(LAST_SEQ, b"1", STALE, StaleEpoch, id="stale epoch before gap"),
        pytest.param(LAST_SEQ, b"1", GAP, ProducerGap, id="gap before Stream-Seq"),
        pytest.param(LAST_SEQ, b"1", OLD_SEQ, StreamSeqRegressed, id="Stream-Seq last"),
    ],
)
def test_of_several_wrongs_the_first_in_this_order_is_answered(
    stream: StreamState | None, body: bytes, headers: dict[str, str], error: type[ProtocolError]
) -> None:
    with pytest.raises(ProtocolError) as refusal:
        append(stream, body, EPOCH_1, **headers)

    assert type(refusal.value) is error


def test_with_all_of_them_mended_the_append_succeeds() -> None:
    assert append(LAST_SEQ, b"x", EPOCH_1, **{**OLD_SEQ, "stream_seq": "c"}).result.added_data


def test_an_append_without_a_type_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="Content-Type"):
        append(STREAM)


# Create


def test_a_new_streams_id_is_the_time() -> None:
    decision = create(None, create_request("s", content_type=TEXT, stream_ttl="5"))

    stream = StreamState(
        id=NOW,
        path="s",
        content_type="text/plain",
        mode=Mode.TEXT,
        lifetime=Lifetime(ttl_s=5),
        used_us=NOW,
    )
    assert decision == Decision([SaveStream(stream)], Created(stream, new=True))


def test_a_stream_without_a_type_is_octets() -> None:
    stream = create(None, create_request()).result.stream

    assert (stream.content_type, stream.mode) == ("application/octet-stream", Mode.BINARY)


def test_a_body_is_the_first_append_of_a_new_stream() -> None:
    decision = create(None, create_request("s", b"[1,2]", content_type=JSON, stream_closed="true"))

    stream = decision.result.stream
    assert (stream.tail, stream.closed) == (4, True)
    assert decision.writes == [SaveStream(stream), AppendData(NOW, 0, Payload(b"1,2,", 2))]


def test_a_json_stream_may_begin_with_an_empty_array() -> None:
    assert create(None, create_request("s", b"[]", content_type=JSON)).result.stream.tail == 0


def test_an_expiry_in_the_past_creates_nothing() -> None:
    with pytest.raises(InvalidRequest):
        create(None, create_request("s", content_type=TEXT, stream_expires_at="1999-12-31T23:59:59Z"))


def test_a_bad_first_body_creates_nothing() -> None:
    with pytest.raises(InvalidJson):
        create(None, create_request("s", b"{", content_type=JSON))


@pytest.mark.parametrize(
    ("existing", "headers"),
    [
        (STREAM, {"content_type": "text/plain"}),
        (STREAM, {"content_type": "TEXT/PLAIN"}),
        (
            replace(STREAM, content_type="text/plain; charset=utf-8"),
            {"content_type": "text/plain;charset=UTF-8"},
        ),
        (replace(STREAM, content_type="application/octet-stream"), {}),
        (CLOSED, {"content_type": TEXT, "stream_closed": "true"}),
        (replace(STREAM, lifetime=Lifetime(ttl_s=60)), {"content_type": TEXT, "stream_ttl": "60"}),
        (
            replace(STREAM, lifetime=Lifetime(expires_at="x", expires_at_us=1_893_456_000_000_000)),
            {"content_type": TEXT, "stream_expires_at": "2030-01-01T01:00:00+01:00"},
        ),
    ],
)
def test_creating_again_with_the_same_configuration_changes_nothing(
    existing: StreamState, headers: dict[str, str]
) -> None:
    assert create(existing, create_request("s", b"ignored", **headers)) == Decision(
        (), Created(existing, new=False)
    )


@pytest.mark.parametrize(
    ("existing", "headers"),
    [
        (STREAM, {}),
        (STREAM, {"content_type": "text/html"}),
        (STREAM, {"content_type": "text/plain; charset=utf-8"}),
        (STREAM, {"content_type": TEXT, "stream_closed": "true"}),
        (CLOSED, {"content_type": TEXT}),
        (STREAM, {"content_type": TEXT, "stream_ttl": "60"}),
        (replace(STREAM, lifetime=Lifetime(ttl_s=60)), {"content_type": TEXT}),
        (replace(STREAM, lifetime=Lifetime(ttl_s=60)), {"content_type": TEXT, "stream_ttl": "61"}),
        (STREAM, {"content_type": TEXT, "stream_forked_from": "/v1/stream/a"}),
        (DELETED, {"content_type": TEXT}),
    ],
)
def test_creating_again_with_another_configuration_is_refused(
    existing: StreamState, headers: dict[str, str]
) -> None:
    with pytest.raises(StreamExists):
        create(existing, create_request("s", **headers))


def test_an_expired_stream_gives_way_to_a_new_one() -> None:
    decision = create(EXPIRED, create_request("s", content_type=JSON))

    stream = decision.result.stream
    assert decision.writes == [RemoveStream(EXPIRED), SaveStream(stream)]
    assert decision.result.removed == (EXPIRED,)
    assert stream.id == NOW


def test_an_expired_stream_that_forks_still_need_keeps_its_path() -> None:
    with pytest.raises(StreamExists):
        create(replace(EXPIRED, forks=1), create_request("s", content_type=JSON))


# Forks


def fork_request(**headers: str) -> CreateRequest:
    return create_request("f", stream_forked_from="/v1/stream/s", **headers)


def test_a_fork_inherits_type_and_bytes_and_holds_its_source() -> None:
    source = replace(STREAM, closed=True, last_seq="b", lifetime=Lifetime(ttl_s=60))

    decision = create(None, fork_request(), source, fork_at=6)

    fork = decision.result.stream
    assert decision.writes == [
        SaveStream(replace(source, forks=1, forked_until=6, used_us=NOW)),
        SaveStream(fork),
    ]
    assert (fork.id, fork.offset(6), fork.tail) == (NOW, "0000000000000007_0000000000000006", 6)
    assert (fork.content_type, fork.lifetime) == ("text/plain", Lifetime(ttl_s=60))
    assert (fork.closed, fork.closed_by, fork.last_seq) == (False, None, None)
    assert fork.segments() == (Segment(7, 6), Segment(NOW, 6))


def test_a_forks_body_goes_after_what_it_inherits() -> None:
    request = create_request("f", b"abc", content_type=TEXT, stream_forked_from="/v1/stream/s")

    decision = create(None, request, STREAM, fork_at=6)

    assert decision.result.stream.tail == 9
    assert decision.writes[-1] == AppendData(NOW, 6, Payload(b"abc", 1))


def test_a_fork_of_another_type_is_refused() -> None:
    with pytest.raises(ContentTypeMismatch):
        create(None, fork_request(content_type=JSON), STREAM, fork_at=6)


def test_a_fork_of_nothing_is_not_found() -> None:
    with pytest.raises(NotFound):
        create(None, fork_request(), None)


TOKEN_6: Final = "0000000000000007_0000000000000006"
TOKEN_4: Final = "0000000000000007_0000000000000004"


@pytest.mark.parametrize(
    ("existing", "headers"),
    [
        pytest.param(fork_of(STREAM, 10), {}, id="the tail again"),
        pytest.param(fork_of(STREAM, 10), {"content_type": TEXT}, id="with its type"),
        pytest.param(
            fork_of(STREAM, 6, requested=TOKEN_6), {"stream_fork_offset": TOKEN_6}, id="the same offset"
        ),
        pytest.param(fork_of(STREAM, 0, requested="-1"), {"stream_fork_offset": "-1"}, id="the start"),
        pytest.param(
            fork_of(STREAM, 6, requested=TOKEN_4, sub_offset=2),
            {"stream_fork_offset": TOKEN_4, "stream_fork_sub_offset": "2"},
            id="the same sub-offset",
        ),
        pytest.param(
            fork_of(STREAM, 6, requested=TOKEN_6),
            {"stream_fork_offset": TOKEN_6, "stream_fork_sub_offset": "0"},
            id="a sub-offset of zero",
        ),
        pytest.param(
            replace(fork_of(STREAM, 10), lifetime=Lifetime(ttl_s=60)), {}, id="with the lifetime it inherited"
        ),
    ],
)
def test_forking_again_the_same_way_changes_nothing(existing: StreamState, headers: dict[str, str]) -> None:
    assert create(existing, fork_request(**headers), STREAM) == Decision((), Created(existing, new=False))


@pytest.mark.parametrize(
    ("existing", "headers"),
    [
        pytest.param(replace(STREAM, path="f"), {}, id="no fork"),
        pytest.param(fork_of(replace(STREAM, path="other"), 10), {}, id="another source"),
        pytest.param(
            fork_of(STREAM, 6, requested=TOKEN_6), {"stream_fork_offset": TOKEN_4}, id="another offset"
        ),
        pytest.param(
            fork_of(STREAM, 6, requested=TOKEN_4, sub_offset=2),
            {"stream_fork_offset": TOKEN_4, "stream_fork_sub_offset": "1"},
            id="another sub-offset",
        ),
        pytest.param(
            fork_of(STREAM, 6, requested=TOKEN_4, sub_offset=2),
            {"stream_fork_offset": TOKEN_6, "stream_fork_sub_offset": "2"},
            id="the place it branched off as offset, and the sub-offset once more",
        ),
        pytest.param(fork_of(STREAM, 6, requested=TOKEN_6), {}, id="no offset where there was one"),
        pytest.param(fork_of(STREAM, 10), {"stream_ttl": "5"}, id="another lifetime"),
        pytest.param(fork_of(STREAM, 10), {"content_type": JSON}, id="another type"),
    ],
)
def test_forking_again_another_way_is_refused(existing: StreamState, headers: dict[str, str]) -> None:
    with pytest.raises(StreamExists):
        create(existing, fork_request(**headers), STREAM)


def test_a_plain_create_on_a_fork_is_refused() -> None:
    with pytest.raises(StreamExists):
        create(fork_of(STREAM, 10), create_request("f", content_type=TEXT))


def expired(fork: StreamState) -> StreamState:
    return replace(fork, lifetime=Lifetime(ttl_s=1), used_us=NOW - 1_000_000)


def saved(decision: Decision[Created]) -> dict[str, StreamState]:
    """Streams by path as they are after all writes."""
    return {write.stream.path: write.stream for write in decision.writes if isinstance(write, SaveStream)}


def test_replacing_an_expired_fork_by_a_plain_stream_releases_its_source() -> None:
    source = replace(STREAM, forks=1)

    decision = create(expired(fork_of(source, 6)), create_request("f", content_type=TEXT), source)

    assert saved(decision)["s"].forks == 0


def test_replacing_an_expired_fork_by_another_of_the_same_source_holds_it_once() -> None:
    source = replace(STREAM, forks=1)

    decision = create(expired(fork_of(source, 6)), fork_request(), source, source, fork_at=6)

    assert saved(decision)["s"].forks == 1


def test_replacing_an_expired_fork_of_a_fork_by_one_of_the_root_holds_the_root_once() -> None:
    root = replace(STREAM, forks=1)
    middle = replace(fork_of(root, 6), path="m", forks=1, deleted=True)
    leaf = expired(replace(fork_of(middle, 6), id=9))

    decision = create(leaf, fork_request(), root, middle, root, fork_at=6)

    assert RemoveStream(middle) in decision.writes
    assert saved(decision)["s"].forks == 1


# Delete


def test_a_delete_names_what_can_be_purged() -> None:
    decision = decide.delete([Loaded(STREAM)], NOW)

    assert decision.writes == [RemoveStream(STREAM)]
    assert decision.result.removed == (STREAM,)


def test_a_delete_of_a_stream_with_forks_purges_nothing() -> None:
    decision = decide.delete([Loaded(replace(STREAM, forks=1))], NOW)

    assert decision.result.removed == ()


def test_a_delete_of_the_last_fork_purges_its_soft_deleted_source_too() -> None:
    fork = fork_of(DELETED, 6)

    decision = decide.delete([Loaded(fork), Loaded(DELETED)], NOW)

    assert decision.result.removed == (fork, DELETED)


@pytest.mark.parametrize("found", [[STREAM], [CLOSED], [JSON_STREAM]])
def test_closed_streams_can_be_deleted_too(found: Sequence[StreamState]) -> None:
    assert decide.delete([Loaded(stream) for stream in found], NOW).result.stream == found[0]
