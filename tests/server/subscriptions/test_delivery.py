"""Requests to webhooks over real sockets: to checked addresses only, and bounded (PROTOCOL §12.8)."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from durafold_server.subscriptions.addresses import Policy
from durafold_server.subscriptions.courier import Answer, DeliveryFailed
from durafold_server.subscriptions.delivery import MAX_ANSWER_BYTES, HttpSender
from support.subscriptions import WebhookServer
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Names:
    """A resolver that answers from a list, the last answer for ever; and the names it was asked for."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Detour(httpcore.AsyncNetworkBackend):
    """Leads every connection to this machine, and notes where it was to go."""

    def __init__(self) -> None:
        self.wanted: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.wanted.append(host)
        network = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())
        return await network.connect_tcp("127.0.0.1", port)


async def post(
    url: str,
    policy: Policy = "local",
    *,
    names: Names | None = None,
    network: httpcore.AsyncNetworkBackend | None = None,
    timeout_s: float = 30,
    ssl_context: ssl.SSLContext | None = None,
) -> Answer:
    sender = HttpSender(policy, resolve=names, network=network, ssl_context=ssl_context)
    try:
        return await sender.post(url, {"X-Test": "1"}, b"body", timeout_s=timeout_s)
    finally:
        await sender.aclose()


@asynccontextmanager
async def raw_server(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on 127.0.0.1 that does as told once a request's head has come; yields its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answering(data: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return serve


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1000):  # until the client leaves
        pass


async def test_a_request_arrives_as_it_was_sent(webhook: WebhookServer) -> None:
    webhook.answers.append((202, b'{"done": true}'))

    answer = await post(webhook.url)

    received = webhook.next()
    assert answer == Answer(202, b'{"done": true}')
    assert received.raw == b"body"
    assert received.headers["x-test"] == "1"
    assert received.headers["host"] == f"127.0.0.1:{webhook.server_port}"
    assert received.headers["content-length"] == "4"
    assert received.headers[":path"] == "/hook?key=1"


async def test_a_redirect_is_an_answer_and_not_followed(webhook: WebhookServer) -> None:
    webhook.extra_headers["location"] = webhook.url
    webhook.answers.append((307, b""))

    answer = await post(webhook.url)

    webhook.next()
    assert answer.status == 307
    assert webhook.is_quiet


async def test_proxies_of_the_environment_are_not_used(
    webhook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert (await post(webhook.url)).status == 200


async def test_localhost_is_reached_by_name(webhook: WebhookServer) -> None:
    assert (await post(f"http://localhost:{webhook.server_port}/hook")).status == 200


@pytest.mark.parametrize(
    ("policy", "scheme", "host"),
    [("public", "https", "127.0.0.1"), ("public", "http", "127.0.0.1"), ("public", "http", "localhost")],
)
async def test_a_url_that_the_policy_forbids_now_is_not_sent_to(
    webhook: WebhookServer, policy: Policy, scheme: str, host: str
) -> None:
    with pytest.raises(DeliveryFailed, match=r"webhook\.url"):
        await post(f"{scheme}://{host}:{webhook.server_port}/hook", policy)

    assert webhook.is_quiet


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["127.0.0.1"], id="this machine"),
        pytest.param(["::ffff:127.0.0.1"], id="this machine, mapped"),
        pytest.param(["10.0.0.1"], id="private"),
        pytest.param(["93.184.215.14", "127.0.0.1"], id="a good one and this machine"),
    ],
)
async def test_a_name_that_leads_inside_is_not_connected_to(addresses: list[str]) -> None:
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(DeliveryFailed, match="private or local"):
            await post(f"https://rebind.test:{port}/hook", "public", names=Names(addresses))

    assert connections == 0


async def test_a_name_is_resolved_once_and_connected_to_as_it_was_checked(webhook: WebhookServer) -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])

    answer = await post(f"http://localhost:{webhook.server_port}/hook", names=names)

    assert answer.status == 200
    assert names.asked == ["localhost"]


async def test_a_name_that_changes_its_answer_is_checked_again(webhook: WebhookServer) -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    url = f"http://localhost:{webhook.server_port}/hook"
    await post(url, names=names)
    webhook.next()

    with pytest.raises(DeliveryFailed, match="must use https"):
        await post(url, names=names)

    assert webhook.is_quiet


async def test_unencrypted_requests_do_not_leave_the_machine_whatever_the_name_says() -> None:
    with pytest.raises(DeliveryFailed, match="must use https"):
        await post("http://localhost/hook", names=Names(["93.184.215.14"]))


async def test_the_next_address_is_tried_when_one_does_not_answer(webhook: WebhookServer) -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])

    assert (await post(f"http://localhost:{webhook.server_port}/hook", names=names)).status == 200


async def test_an_answer_is_read_up_to_a_limit() -> None:
    size = 10 * MAX_ANSWER_BYTES
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size

    async with raw_server(answering(head + b"x" * size)) as port:
        answer = await post(f"http://127.0.0.1:{port}/")

    assert answer == Answer(200, b"x" * MAX_ANSWER_BYTES)


async def test_an_endless_answer_is_read_up_to_a_limit() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    async with raw_server(serve) as port:
        answer = await post(f"http://127.0.0.1:{port}/")

    assert len(answer.body) == MAX_ANSWER_BYTES


async def test_no_answer_within_the_time_is_a_failure() -> None:
    async with raw_server(hang) as port:
        with pytest.raises(DeliveryFailed, match=r"no answer within 0\.05 s"):
            await post(f"http://127.0.0.1:{port}/", timeout_s=0.05)


async def test_an_answer_that_drips_is_a_failure() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(drip) as port:
        with pytest.raises(DeliveryFailed, match="no answer within"):
            await post(f"http://127.0.0.1:{port}/", timeout_s=0.1)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", id="cut"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000, id="endless head"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_a_failure(data: bytes) -> None:
    async with raw_server(answering(data)) as port:
        with pytest.raises(DeliveryFailed):
            await post(f"http://127.0.0.1:{port}/")


async def test_a_webhook_that_nobody_serves_is_a_failure() -> None:
    async with raw_server(hang) as port:
        pass

    with pytest.raises(DeliveryFailed):
        await post(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("addresses", [[], None])
async def test_a_name_without_an_address_is_a_failure(addresses: list[str] | None) -> None:
    class NoSuchName(Names):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            if addresses is None:
                raise OSError("no such name")
            return addresses

    with pytest.raises(DeliveryFailed):
        await post("https://nowhere.test/", names=NoSuchName())


async def test_a_request_that_is_given_up_closes_its_connection() -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await hang(reader, writer)
        left.set()

    async with raw_server(serve) as port:
        task = asyncio.create_task(post(f"http://127.0.0.1:{port}/"))
        await asyncio.wait_for(arrived.wait(), PATIENCE_S)

        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(left.wait(), PATIENCE_S)


async def test_a_public_name_is_connected_to_by_the_address_that_was_checked(tmp_path: Path) -> None:
    server_tls, client_tls = tls_contexts(tmp_path, "worker.test")
    names, network = Names(["93.184.215.14"], ["127.0.0.1"]), Detour()

    async with raw_server(answering(OK), server_tls) as port:
        url = f"https://worker.test:{port}/"
        answer = await post(url, "public", names=names, network=network, ssl_context=client_tls)
        with pytest.raises(DeliveryFailed, match="private or local"):
            await post(url, "public", names=names, network=network, ssl_context=client_tls)

    assert answer == Answer(200, b"{}")
    assert network.wanted == ["93.184.215.14"]


async def test_the_certificate_must_be_the_name_s_though_an_address_is_connected_to(tmp_path: Path) -> None:
    server_tls, client_tls = tls_contexts(tmp_path, "worker.test")
    names = Names(["93.184.215.14"])

    async with raw_server(answering(OK), server_tls) as port:
        with pytest.raises(DeliveryFailed, match=r"(?i)certificate"):
            await post(f"https://other.test:{port}/", names=names, network=Detour(), ssl_context=client_tls)


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    server_tls, _ = tls_contexts(tmp_path, "worker.test")

    async with raw_server(answering(OK), server_tls) as port:
        with pytest.raises(DeliveryFailed, match=r"(?i)certificate"):
            await post(f"https://worker.test:{port}/", names=Names(["93.184.215.14"]), network=Detour())


def tls_contexts(directory: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for `name`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))
