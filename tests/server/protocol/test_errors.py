"""Every error's status, and the headers that some must carry."""

from __future__ import annotations

import pytest

from durafold_server.protocol import errors


def all_errors(base: type[errors.ProtocolError] = errors.ProtocolError) -> set[type[errors.ProtocolError]]:
    return {base}.union(*(all_errors(child) for child in base.__subclasses__()))


STATUSES = {
    errors.ProtocolError: 400,
    errors.InvalidRequest: 400,
    errors.InvalidOffset: 400,
    errors.InvalidJson: 400,
    errors.EmptyBody: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.StaleEpoch: 403,
    errors.ProducerTaken: 403,
    errors.ReadOnly: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.StreamExists: 409,
    errors.ContentTypeMismatch: 409,
    errors.StreamIsClosed: 409,
    errors.StreamSeqRegressed: 409,
    errors.ProducerGap: 409,
    errors.Gone: 410,
    errors.NotRetained: 410,
    errors.BodyTooLarge: 413,
    errors.PathTooLong: 414,
    errors.ActionRefused: 422,
    errors.StateUnknown: 422,
    errors.ReducerBusy: 503,
    errors.ReducerStuck: 503,
    errors.StorageUnavailable: 503,
    errors.AccessUnknown: 503,
    errors.StorageFull: 507,
}


def test_every_error_has_its_status() -> None:
    assert {error: error.status for error in all_errors()} == STATUSES


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_error_names_a_section_of_the_protocol(error: type[errors.ProtocolError]) -> None:
    assert error.section[0].isdigit()


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (
            errors.StreamIsClosed("0000000000000007_0000000000000042"),
            (("Stream-Closed", "true"), ("Stream-Next-Offset", "0000000000000007_0000000000000042")),
        ),
        (
            errors.ProducerGap(expected=4, received=9),
            (("Producer-Expected-Seq", "4"), ("Producer-Received-Seq", "9")),
        ),
        (errors.Unauthorized(has_credentials=False), (("WWW-Authenticate", 'Bearer realm="durafold"'),)),
        (
            errors.Unauthorized(has_credentials=True),
            (("WWW-Authenticate", 'Bearer realm="durafold", error="invalid_token"'),),
        ),
        (
            errors.Forbidden("append"),
            (("WWW-Authenticate", 'Bearer realm="durafold", error="insufficient_scope"'),),
        ),
        (errors.StaleEpoch(3), (("Producer-Epoch", "3"),)),
        (
            errors.NotRetained("0000000000000007_0000000000000042"),
            (("Stream-Earliest-Offset", "0000000000000007_0000000000000042"),),
        ),
        (errors.MethodNotAllowed("PATCH"), (("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),)),
    ],
)
def test_an_error_carries_what_its_client_needs(
    error: errors.ProtocolError, headers: tuple[tuple[str, str], ...]
) -> None:
    assert error.headers == headers


def test_messages_say_what_to_do() -> None:
    assert "in several appends" in errors.BodyTooLarge(10).message
    assert "Send the missing appends first" in errors.ProducerGap(expected=4, received=9).message
    assert "Take a fresh Producer-Id" in str(errors.ProducerTaken("k3f9").document)


def test_a_condition_is_named_after_its_error() -> None:
    assert (errors.StreamIsClosed.code, errors.NotFound.code) == ("stream_is_closed", "not_found")
