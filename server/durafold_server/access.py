"""Who may do what: identities, scopes, bearer tokens, and the questions that embedders may answer themselves.

Knows no HTTP beyond header names, and no stream: `http/guard.py` asks, and turns a no into 401 or 403.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast

from durafold_server.protocol.errors import ProtocolError
from durafold_server.protocol.requests import RESERVED_SEGMENT, parse_path

Operation: TypeAlias = Literal[
    "create", "append", "close", "read", "head", "delete", "fork", "list", "subscribe", "claim", "metrics"
]
"""What a request wants to do.

`fork` is asked about the source, beside `create` about the fork; `close` beside `append` if a request does
both; `list` about the registry of all streams, or about the prefix of those that are listed. `subscribe` and
`claim` are asked about `__ds/subscriptions/<name>`, `metrics` about the empty path.
"""

Scope: TypeAlias = Literal["read", "write", "admin"]

SCOPE_OF: Final[Mapping[Operation, Scope]] = {
    "read": "read",
    "head": "read",
    "fork": "read",
    "list": "read",
    "create": "write",
    "append": "write",
    "close": "write",
    "delete": "write",
    "subscribe": "admin",
    "claim": "admin",
    "metrics": "admin",
}
"""The scope that allows an operation; `admin` allows every one."""

SYNTAX: Final = "[NAME@]SECRET=SCOPE[,SCOPE...][:PREFIX][;SCOPE...[:PREFIX]...]"

# RFC 6750 §2.1: what a bearer token may consist of.
_TOKEN: Final = re.compile(
    r"(?:(?P<name>[A-Za-z0-9._-]+)@)?(?P<secret>[A-Za-z0-9\-._~+/]+=*?)=(?P<grants>[a-z].*)", re.ASCII
)
_SCOPES: Final = frozenset({"read", "write", "admin"})
_MARK_BYTES: Final = 16


class InvalidToken(ValueError):
    """A token is not written as `SYNTAX` has it. The message never holds the secret."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A scope for all streams whose path begins with `prefix`; the empty prefix means every path."""

    scope: Scope
    prefix: str = ""

    def allows(self, operation: Operation, path: str) -> bool:
        """Whether this grant is enough for an operation on a path."""
        return self.scope in ("admin", SCOPE_OF[operation]) and path.startswith(self.prefix)


@dataclass(frozen=True)
class Identity:
    """Who sends a request. Subclass it to carry more; what `authenticate` returns, `authorize` gets.

    Attributes:
        name: who it is, for the access log and as the owner of producers; never a secret.
        grants: what it may do, if no `authorize` of your own decides.
    """

    name: str
    grants: tuple[Grant, ...] = ()

    def may(self, operation: Operation, path: str) -> bool:
        """Whether its grants allow an operation on a path."""
        return any(grant.allows(operation, path) for grant in self.grants)

    @property
    def mark(self) -> bytes:
        """What its producers are marked with: short whatever the name is, and the same after a restart."""
        return hashlib.sha256(self.name.encode(errors="surrogatepass")).digest()[:_MARK_BYTES]


Authenticate: TypeAlias = Callable[[Mapping[str, str]], Identity | Awaitable[Identity | None] | None]
"""Headers by lower-case name → who sends them, or None for nobody known. Plain or async."""

Authorize: TypeAlias = Callable[[Identity | None, Operation, str], bool | Awaitable[bool]]
"""Who, what, on which path (canonical, below the prefix) → whether they may. Plain or async."""


def by_grants(identity: Identity | None, operation: Operation, path: str) -> bool:
    """The `Authorize` that goes by what an identity was granted; nobody may do nothing."""
    return identity is not None and identity.may(operation, path)


@dataclass(frozen=True, slots=True)
class Token:
    """A static bearer token. Only a digest of its secret is kept."""

    identity: Identity
    digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, default_name: str) -> Token:
        """A token as it is written on the command line or in a file: see `SYNTAX`.

        Args:
            text: such as `app@x7Qm…=read,write:todos/;read:news/`.
            default_name: of its identity, if the text gives none.

        Raises:
            InvalidToken: it is not written like that; the message says what is wrong, without the secret.
        """
        match = _TOKEN.fullmatch(text.strip())
        if match is None:
            raise InvalidToken(f"a token is written {SYNTAX}, for example s3cr3t=read,write:todos/")
        grants = tuple(grant for part in match["grants"].split(";") for grant in _grants(part))
        return cls(Identity(match["name"] or default_name, grants), _digest(match["secret"]))

    def __str__(self) -> str:
        grants = ";".join(
            f"{grant.scope}:{grant.prefix}" if grant.prefix else grant.scope for grant in self.identity.grants
        )
        return f"{self.identity.name}@***={grants}"


def parse_tokens(lines: Iterable[str], *, named: str = "token") -> tuple[Token, ...]:
    """Tokens, one a line; empty lines and those that begin with `#` are left out.

    Args:
        lines: the tokens.
        named: one without a name is called this, with the line's number.

    Raises:
        InvalidToken: one of them is wrong; the message says which.
    """
    tokens: list[Token] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            tokens.append(Token.parse(line, default_name=f"{named}-{number}"))
        except InvalidToken as exc:
            raise InvalidToken(f"line {number}: {exc}" if named != "token" else str(exc)) from None
    return tuple(tokens)


class StaticTokens:
    """The `Authenticate` that knows a fixed set of bearer tokens."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._by_digest = {token.digest: token for token in tokens}

    def __call__(self, headers: Mapping[str, str]) -> Identity | None:
        """Who holds the token of the Authorization header, if anybody does."""
        secret = bearer(headers)
        if secret is None:
            return None
        # Looked up by digest, so that time tells nothing of the secrets: nobody can choose a digest's bytes.
        digest = _digest(secret)
        token = self._by_digest.get(digest)
        return token.identity if token is not None and hmac.compare_digest(token.digest, digest) else None


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of an Authorization header (RFC 6750 §2.1), or None."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _grants(text: str) -> Iterable[Grant]:
    scopes, _, prefix = text.strip().partition(":")
    for scope in scopes.split(","):
        if scope.strip() not in _SCOPES:
            # Not quoted: where a secret holds a stray `=`, this is a part of it.
            raise InvalidToken("what stands for a scope is none: use read, write or admin")
        yield Grant(cast("Scope", scope.strip()), _canonical(prefix))


def _canonical(prefix: str) -> str:
    """A prefix in the form that paths have, so that `%61` and `a` are the same here too."""
    prefix = prefix.strip().removeprefix("/")
    if not prefix or prefix.partition("/")[0] == RESERVED_SEGMENT:
        return prefix
    try:
        return parse_path(prefix)
    except ProtocolError as exc:
        raise InvalidToken(f"the prefix {prefix!r} begins no stream's path. {exc.message}") from None
