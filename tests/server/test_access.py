"""Tokens and what they allow, without a request."""

from __future__ import annotations

import pytest

from durafold_server.access import (
    SCOPE_OF,
    Grant,
    Identity,
    InvalidToken,
    Operation,
    StaticTokens,
    Token,
    by_grants,
    parse_tokens,
)

SECRET = "x7QmPl-2_a.b~c+d/e"


def identify(text: str, authorization: str | None) -> Identity | None:
    headers = {} if authorization is None else {"authorization": authorization}
    return StaticTokens(parse_tokens([text]))(headers)


# Writing


@pytest.mark.parametrize(
    ("text", "grants"),
    [
        ("s=read", [Grant("read")]),
        ("s=read,write", [Grant("read"), Grant("write")]),
        ("s=read, write:todos/", [Grant("read", "todos/"), Grant("write", "todos/")]),
        ("s=read;write:todos/", [Grant("read"), Grant("write", "todos/")]),
        ("s=admin:__ds/", [Grant("admin", "__ds/")]),
        ("s=read:/todos/", [Grant("read", "todos/")]),
        ("s=read:%74odos/a b/", [Grant("read", "todos/a%20b/")]),
        ("s=read:a=b/", [Grant("read", "a=b/")]),
    ],
)
def test_a_token_says_what_it_allows_and_where(text: str, grants: list[Grant]) -> None:
    assert Token.parse(text, default_name="x").identity.grants == tuple(grants)


def test_a_token_may_have_a_name() -> None:
    named, unnamed = parse_tokens([f"app@{SECRET}=read", "other=read"])

    assert (named.identity.name, unnamed.identity.name) == ("app", "token-2")


def test_empty_lines_and_comments_are_no_tokens() -> None:
    assert len(parse_tokens(["# for the app", "", "  ", "s=read", "  # old=read"])) == 1


@pytest.mark.parametrize(
    "text", ["", "s", "=read", "s=", "s=foo", "s=read,foo", "s=read;", "a b=read", "s=READ"]
)
def test_a_malformed_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        Token.parse(text, default_name="x")


@pytest.mark.parametrize("prefix", ["../a", "a%zz", "a/./b"])
def test_a_prefix_that_no_path_begins_with_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidToken, match="begins no stream's path"):
        Token.parse(f"s=read:{prefix}", default_name="x")


@pytest.mark.parametrize("text", ["s3cr3t", "s3cr3t=foo", "s3cr3t=read:../a", "a=s3cr3t=read", "s3cr3t read"])
def test_a_refusal_never_shows_the_secret(text: str) -> None:
    with pytest.raises(InvalidToken) as refusal:
        parse_tokens([text])

    assert "s3cr3t" not in str(refusal.value).replace("for example s3cr3t", "")


def test_a_token_never_shows_its_secret() -> None:
    token = Token.parse(f"app@{SECRET}=read,write:todos/", default_name="x")

    assert SECRET not in f"{token} {token!r}"
    assert str(token) == "app@***=read:todos/;write:todos/"


# Showing


@pytest.mark.parametrize("authorization", [f"Bearer {SECRET}==", f"bearer  {SECRET}== "])
def test_who_shows_a_token_is_known(authorization: str) -> None:
    identity = identify(f"app@{SECRET}===read", authorization)

    assert identity == Identity("app", (Grant("read"),))


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", f"Basic {SECRET}", SECRET, f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}"],
)
def test_who_shows_another_token_or_none_is_not(authorization: str | None) -> None:
    assert identify(f"{SECRET}=read", authorization) is None


# Allowing


@pytest.mark.parametrize("operation", SCOPE_OF)
def test_admin_may_do_everything(operation: Operation) -> None:
    assert by_grants(Identity("x", (Grant("admin"),)), operation, "a")


@pytest.mark.parametrize("operation", SCOPE_OF)
def test_nobody_may_do_nothing(operation: Operation) -> None:
    assert not by_grants(None, operation, "a")
    assert not by_grants(Identity("x"), operation, "a")


@pytest.mark.parametrize(
    ("operation", "reader", "writer"),
    [
        ("read", True, False),
        ("head", True, False),
        ("fork", True, False),
        ("list", True, False),
        ("create", False, True),
        ("append", False, True),
        ("close", False, True),
        ("delete", False, True),
        ("subscribe", False, False),
        ("claim", False, False),
        ("metrics", False, False),
    ],
)
def test_an_operation_needs_its_scope(operation: Operation, reader: bool, writer: bool) -> None:
    assert by_grants(Identity("x", (Grant("read"),)), operation, "a") is reader
    assert by_grants(Identity("x", (Grant("write"),)), operation, "a") is writer


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("todos/a", True), ("todos", False), ("todo", False), ("todos%2Fa", False), ("a/todos/", False)],
)
def test_a_prefix_is_the_beginning_of_the_path(path: str, allowed: bool) -> None:
    assert by_grants(Identity("x", (Grant("read", "todos/"),)), "read", path) is allowed


def test_a_prefix_of_metrics_is_none() -> None:
    assert not by_grants(Identity("x", (Grant("admin", "todos/"),)), "metrics", "")
