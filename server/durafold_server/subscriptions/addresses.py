"""Which URLs and addresses a webhook may go to (PROTOCOL §6.2, §12.8).

Checked twice: the URL when a subscription is created, and every address that its host's name resolves to at
the moment of connecting, because a name may answer differently the second time it is asked.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

from durafold_server.subscriptions.errors import WebhookRejected

Policy: TypeAlias = Literal["local", "public"]
"""`public`: https to public addresses. `local`, for development: also http to this machine itself."""

MAX_URL_LENGTH: Final = 2048

_LOCALHOST: Final = "localhost"
_NOT_LOCAL: Final = "webhook.url must use https; http is for localhost and 127.0.0.x only."
_NOT_PUBLIC: Final = "webhook.url leads to a private or local address; only public ones are allowed."
# WHATWG URL: a host whose last label is a number is an IPv4 address, in one of many spellings.
_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)", re.ASCII)
_HOSTNAME: Final = re.compile(
    r"(?!.{254})(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}", re.ASCII
)
_PRINTABLE: Final = re.compile(r"[!-~]+", re.ASCII)

# IANA's registry of special-purpose addresses, less what it calls globally reachable.
_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for the machine itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata service of Alibaba Cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # looks public, but is the host of a virtual machine on Azure
        "169.254.0.0/16",  # link-local, and most clouds' metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PUBLIC_6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo (which embeds an IPv4 address), benchmarks, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4, which embeds an IPv4 address
        "3fff::/20",
    )
)
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def check_url(url: str, policy: Policy) -> SplitResult:
    """The parts of a webhook's URL, if it may be sent to as far as the URL alone tells.

    Raises:
        WebhookRejected: it is malformed, or the policy forbids it; the message says which.
    """
    parts = _split(url)
    host = parts.hostname or ""
    address = _literal(host)
    if address is None and not _HOSTNAME.fullmatch(host):
        raise WebhookRejected("webhook.url has no valid host name; write international names in Punycode.")
    if parts.scheme == "http":
        if policy == "public":
            raise WebhookRejected("webhook.url must use https.")
        # PROTOCOL §6.2 excepts these two spellings of this machine, and no other.
        if host != _LOCALHOST and not (isinstance(address, IPv4Address) and address.is_loopback):
            raise WebhookRejected(_NOT_LOCAL)
    elif host == _LOCALHOST or host.endswith(f".{_LOCALHOST}"):
        raise WebhookRejected(_NOT_PUBLIC)
    elif address is not None:
        check_address(address, parts.scheme)
    return parts


def check_address(address: IPv4Address | IPv6Address, scheme: str) -> None:
    """Whether a webhook of this scheme may be at this address: http only on this machine, https never.

    Args:
        address: what the host's name resolved to, or was.
        scheme: `http` or `https`.

    Raises:
        WebhookRejected: it may not.
    """
    address = _unmapped(address)
    if scheme == "http":
        if not address.is_loopback:
            raise WebhookRejected(_NOT_LOCAL)
    elif not _is_public(address):
        raise WebhookRejected(_NOT_PUBLIC)


def _split(url: str) -> SplitResult:
    # Beyond printable ASCII, URL parsers disagree about what is the host.
    if len(url) > MAX_URL_LENGTH or not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise WebhookRejected(f"webhook.url must be printable ASCII of at most {MAX_URL_LENGTH} characters.")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as exc:
        raise WebhookRejected(f"webhook.url is malformed: {exc}.") from exc
    if not valid:
        raise WebhookRejected("webhook.url must be an absolute https:// URL with a host.")
    if "@" in parts.netloc:
        raise WebhookRejected("webhook.url must not hold a user name or password; notifications are signed.")
    return parts


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as, or None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        if _NUMERIC.fullmatch(host.rstrip(".")) or ":" in host:
            raise WebhookRejected(
                "webhook.url holds an odd form of an IP address; write four decimal numbers, or use a name."
            ) from None
        return None


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that the machine itself takes an IPv6 one for."""
    return _embedded(address) if address in _MAPPED else address


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if address in _NAT64:
        # How a machine with IPv6 only reaches IPv4: a gateway takes the embedded address from here.
        address = _embedded(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)
