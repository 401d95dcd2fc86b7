"""Digests: the same for equal values, and worth nothing with another secret or purpose."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from durafold.errors import ConfigurationError
from durafold.signing import digest, is_digest

SECRET, OTHER = b"0123456789abcdef", b"fedcba9876543210"
VALUE = {"b": [1, None], "a": "\N{GRINNING FACE}"}
TEXT = b'{"a":"\\ud83d\\ude00","b":[1,null]}'


def test_a_digest_without_secret_is_sha_256_of_the_text_with_sorted_keys() -> None:
    assert digest(VALUE, None) == hashlib.sha256(TEXT).hexdigest()


def test_a_digest_with_a_secret_is_hmac_of_the_purpose_and_the_text() -> None:
    expected = hmac.new(SECRET, b"hydration\n" + TEXT, hashlib.sha256).hexdigest()

    assert digest(VALUE, SECRET, purpose=b"hydration\n") == expected


def test_the_order_of_keys_does_not_matter() -> None:
    assert is_digest(digest(VALUE, SECRET), dict(reversed(VALUE.items())), SECRET)


@pytest.mark.parametrize(
    "given",
    [None, 7, "", "\N{GRINNING FACE}", digest(VALUE, None), digest(VALUE, OTHER), digest([VALUE], SECRET)],
)
def test_anything_else_is_not_the_digest(given: Any) -> None:
    assert not is_digest(given, VALUE, SECRET)


def test_a_digest_for_another_purpose_does_not_count() -> None:
    assert not is_digest(digest(VALUE, SECRET), VALUE, SECRET, purpose=b"hydration\n")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="15 bytes is too short"):
        digest(VALUE, SECRET[:15])
