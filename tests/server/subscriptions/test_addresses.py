"""Which URLs and addresses a webhook may go to (PROTOCOL §6.2, §12.8)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold_server.subscriptions.addresses import Policy, check_address, check_url
from durafold_server.subscriptions.errors import WebhookRejected

LOOPBACK = ["127.0.0.1", "127.0.0.53", "127.255.255.254", "::1", "::ffff:127.0.0.1"]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "169.253.255.255",
    "192.167.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:831::200e",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    check_address(ip_address(address), "https")


@pytest.mark.parametrize("address", [*NOT_PUBLIC, *LOOPBACK])
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(WebhookRejected, match="private or local"):
        check_address(ip_address(address), "https")


@pytest.mark.parametrize("address", LOOPBACK)
def test_an_unencrypted_connection_may_stay_on_this_machine(address: str) -> None:
    check_address(ip_address(address), "http")


@pytest.mark.parametrize("address", [*PUBLIC, *NOT_PUBLIC])
def test_an_unencrypted_connection_may_not_leave_this_machine(address: str) -> None:
    with pytest.raises(WebhookRejected, match="must use https"):
        check_address(ip_address(address), "http")


@given(st.integers(0, 2**32 - 1))
def test_a_mapped_address_fares_like_the_one_that_it_maps(number: int) -> None:
    assert allowed(IPv6Address(0xFFFF_0000_0000 + number)) == allowed(IPv4Address(number))


@given(st.integers(0, 2**32 - 1))
def test_what_is_allowed_publicly_is_global_for_python_too(number: int) -> None:
    address = IPv4Address(number)

    assert address.is_global or not allowed(address)


@pytest.mark.parametrize(
    ("url", "policy"),
    [
        ("https://example.com", "public"),
        ("https://example.com/hook?key=1", "public"),
        ("https://example.com:8443/hook", "public"),
        ("HTTPS://EXAMPLE.COM/hook", "public"),
        ("https://xn--caf-dma.example/hook", "public"),
        ("https://93.184.215.14/hook", "public"),
        ("https://[2606:4700:4700::1111]/hook", "public"),
        ("https://example.com/hook", "local"),
        ("http://localhost/hook", "local"),
        ("http://localhost:8080/hook", "local"),
        ("http://127.0.0.1:9/hook", "local"),
        ("http://127.0.0.2/hook", "local"),
        ("http://127.255.255.254/hook", "local"),
    ],
)
def test_a_url_is_allowed(url: str, policy: Policy) -> None:
    check_url(url, policy)


@pytest.mark.parametrize(
    ("url", "policy"),
    [
        ("http://example.com/hook", "public"),
        ("http://example.com/hook", "local"),
        ("http://localhost/hook", "public"),
        ("https://localhost/hook", "public"),
        ("https://LOCALHOST/hook", "public"),
        ("https://localhost./hook", "public"),
        ("https://a.localhost/hook", "public"),
        ("http://127.0.0.1/hook", "public"),
        ("https://127.0.0.1/hook", "public"),
        ("https://[::1]/hook", "public"),
        ("https://[::ffff:127.0.0.1]/hook", "public"),
        ("https://[fd00::1]/hook", "public"),
        ("https://[fe80::1%25eth0]/hook", "public"),
        ("https://169.254.169.254/latest/meta-data", "public"),
        ("https://localhost/hook", "local"),
        ("https://127.0.0.1/hook", "local"),
        ("https://[::1]/hook", "local"),
        ("http://[::1]/hook", "local"),
        ("http://[::ffff:127.0.0.1]/hook", "local"),
        ("http://worker.localhost/hook", "local"),
        ("http://localhost./hook", "local"),
        ("http://10.0.0.1/hook", "local"),
        ("https://10.0.0.1/hook", "local"),
        ("http://192.168.1.1/hook", "local"),
        ("http://[fd00::1]/hook", "local"),
        ("http://0.0.0.0/hook", "local"),
        ("http://localhost.example.com/hook", "local"),
        ("http://127.0.0.1.example.com/hook", "local"),
        ("http://example.com#@localhost/hook", "local"),
        ("http://localhost:1@example.com/hook", "local"),
        ("https://user:password@example.com/hook", "public"),
        ("https://user@example.com/hook", "public"),
        ("https://@example.com/hook", "public"),
        ("https://example.com\\@localhost/hook", "public"),
        ("https://exa mple.com/hook", "public"),
        ("https://example.com/hook\r\nX-Evil: 1", "public"),
        ("https://example.com/a\tb", "public"),
        ("https://café.example/hook", "public"),
        ("https://①②⑦.0.0.1/hook", "public"),
        ("https://example..com/hook", "public"),
        ("https://-.example*/hook", "public"),
        ("https://example.com:0/hook", "public"),
        ("https://example.com:99999/hook", "public"),
        ("https://example.com:http/hook", "public"),
        ("https://[::1/hook", "public"),
        ("https://[example.com]/hook", "public"),
        ("https:///hook", "public"),
        ("https:example.com", "public"),
        ("//example.com/hook", "public"),
        ("ftp://example.com/hook", "public"),
        ("file:///etc/passwd", "local"),
        ("gopher://localhost/", "local"),
        ("", "public"),
        ("https://example.com/" + "a" * 2048, "public"),
    ],
)
def test_a_url_is_refused(url: str, policy: Policy) -> None:
    with pytest.raises(WebhookRejected) as refusal:
        check_url(url, policy)

    assert refusal.value.message.startswith("webhook.url")


@pytest.mark.parametrize("policy", ["local", "public"])
@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0X7F.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "10.0.0.1.",
        "167772161",
        "3232235777",
        "0xa9fea9fe",
        "256.256.256.256",
        "1.2.3.4.5",
        "example.0x7f",
    ],
)
def test_an_address_in_an_odd_form_is_refused(host: str, policy: Policy) -> None:
    with pytest.raises(WebhookRejected, match="odd form"):
        check_url(f"https://{host}/hook", policy)


def allowed(address: IPv4Address | IPv6Address) -> bool:
    try:
        check_address(address, "https")
    except WebhookRejected:
        return False
    return True
