"""Callback and claim tokens (PROTOCOL §12.9)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold_server.subscriptions import tokens
from durafold_server.subscriptions.errors import TokenExpired, TokenInvalid
from durafold_server.subscriptions.tokens import Claims

SECRET = b"k" * 32
NOW_S = 1_800_000_000
CLAIMS = Claims("sub-1", 7, "w_1", NOW_S + 60)


def test_a_token_says_what_it_was_issued_for() -> None:
    token = tokens.issue(SECRET, CLAIMS)

    assert tokens.verify(SECRET, token, subscription="sub-1", now_s=NOW_S) == CLAIMS


def test_a_token_is_a_jwt_that_any_library_can_verify() -> None:
    header, payload, signature = tokens.issue(SECRET, CLAIMS).split(".")

    assert json.loads(decoded(header)) == {"alg": "HS256", "typ": "JWT"}
    assert json.loads(decoded(payload)) == {
        "sub": "sub-1",
        "generation": 7,
        "wake_id": "w_1",
        "exp": NOW_S + 60,
    }
    assert decoded(signature) == hmac.digest(SECRET, f"{header}.{payload}".encode(), hashlib.sha256)


def test_a_wake_s_token_lives_for_a_day() -> None:
    token = tokens.for_wake(SECRET, "sub-1", 7, "w_1", NOW_S)

    tokens.verify(SECRET, token, subscription="sub-1", now_s=NOW_S + 86_399)
    with pytest.raises(TokenExpired):
        tokens.verify(SECRET, token, subscription="sub-1", now_s=NOW_S + 86_400)


def test_a_token_of_another_subscription_is_invalid() -> None:
    with pytest.raises(TokenInvalid, match="another subscription"):
        tokens.verify(SECRET, tokens.issue(SECRET, CLAIMS), subscription="sub-2", now_s=NOW_S)


def test_a_token_of_another_secret_is_invalid() -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(b"x" * 32, tokens.issue(SECRET, CLAIMS), subscription="sub-1", now_s=NOW_S)


def test_an_expired_token_of_another_secret_is_invalid_rather_than_expired() -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(b"x" * 32, tokens.issue(SECRET, CLAIMS), subscription="sub-1", now_s=NOW_S + 60)


def test_a_token_cannot_choose_its_algorithm() -> None:
    _, payload, signature = tokens.issue(SECRET, CLAIMS).split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()

    with pytest.raises(TokenInvalid):
        tokens.verify(SECRET, f"{header}.{payload}.", subscription="sub-1", now_s=NOW_S)
    with pytest.raises(TokenInvalid):
        tokens.verify(SECRET, f"{header}.{payload}.{signature}", subscription="sub-1", now_s=NOW_S)


@given(st.text())
def test_any_other_text_is_invalid(text: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens.verify(SECRET, text, subscription="sub-1", now_s=NOW_S)


@given(st.data())
def test_a_token_with_one_character_changed_is_invalid(data: st.DataObject) -> None:
    token = tokens.issue(SECRET, CLAIMS)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_.").filter(lambda character: character != token[at]))

    with pytest.raises(TokenInvalid):
        tokens.verify(SECRET, token[:at] + other + token[at + 1 :], subscription="sub-1", now_s=NOW_S)


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "==")
