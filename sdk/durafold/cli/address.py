"""Where the server's streams are, and the URL of one of them. Light, because completion imports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from durafold.errors import ConfigurationError
from durafold.wire.headers import check_header_name, check_header_value
from durafold.wire.names import DEFAULT_PORT, DEFAULT_PREFIX
from durafold.wire.urls import split_http_url

__all__ = [
    "DEFAULT_URL",
    "address_below",
    "base_address",
    "credentials",
    "name_of",
    "parse_header",
    "path_prefix",
    "stream_address",
]

DEFAULT_URL: Final = f"http://127.0.0.1:{DEFAULT_PORT}{DEFAULT_PREFIX}"

# As `durafold.engine.stream_url` has it, whose import costs more than most commands; a test compares them.
_SEGMENT_SAFE: Final = "!$&'()*+,;=:@"


def base_address(url: str) -> str:
    """The base of all stream URLs: a bare origin stands for its default path.

    Raises:
        ConfigurationError: it is not an http or https URL.
    """
    parts = split_http_url(url, hint=f"Set --url or STREAM_URL to one like {DEFAULT_URL}")
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") or DEFAULT_PREFIX, fragment=""))


def stream_address(base: str, stream: str) -> str:
    """The URL of a stream.

    Args:
        base: as `base_address` returns it.
        stream: its name, whose segments are percent-encoded here; or a whole URL, which is taken as it is.

    Raises:
        ConfigurationError: this cannot be a stream's name.
    """
    if stream.startswith(("http://", "https://")):
        return stream
    segments = stream.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise ConfigurationError(
            f"{stream!r} cannot be a stream's name",
            hint="Use segments that are not empty, '.' or '..', with one '/' between them",
        )
    if any("\ud800" <= character <= "\udfff" for character in stream):  # what is left of bytes of no text
        raise ConfigurationError(f"{stream!r} cannot be a stream's name", hint="Write it as UTF-8")
    return address_below(base, "/".join(quote(segment, safe=_SEGMENT_SAFE) for segment in segments))


def address_below(base: str, path: str) -> str:
    """The URL of a percent-encoded path; query parameters of the base stay."""
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=f"{parts.path}/{path}"))


def path_prefix(prefix: str) -> str:
    """The beginning of the percent-encoded paths of all streams whose names begin so."""
    return quote(prefix, safe=f"{_SEGMENT_SAFE}/")


def name_of(path: str, base_url: str) -> str:
    """The name that stands for a percent-encoded path; the whole URL where no name does, as for `a%2Fb`."""
    name, url = unquote(path), address_below(base_url, path)
    try:
        return name if stream_address(base_url, name) == url else url
    except ConfigurationError:
        return url


def credentials(token: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The Authorization header: of `--token`, else the value of STREAM_AUTH as it is, else none.

    Raises:
        ConfigurationError: the token is empty, or no header can hold it.
    """
    if token is not None:
        if not token:
            raise ConfigurationError("--token is empty", hint="Leave it out where no token is needed")
        check_header_value(token, "What --token gives")
        return {"Authorization": token if " " in token else f"Bearer {token}"}
    value = environment.get("STREAM_AUTH")
    if not value:
        return {}
    check_header_value(value, "What the variable STREAM_AUTH holds")
    return {"Authorization": value}


def parse_header(text: str) -> tuple[str, str]:
    """`Name: value` → its two parts. No message shows the value, which may be a secret.

    Raises:
        ConfigurationError: it has no name or no colon, or no header can be like this.
    """
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not name:
        raise ConfigurationError(
            "What --header gives has no name or no colon", hint="Write it as --header 'Name: value'"
        )
    check_header_name(name)
    check_header_value(value, f"The header {name!r}")
    return name, value
