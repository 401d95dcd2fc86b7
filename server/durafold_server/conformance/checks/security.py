"""Headers for browsers (PROTOCOL §12.7), CORS, and what must not leak or be injected."""

from __future__ import annotations

from typing import Final

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Reply, expect_equal, expect_that
from durafold_server.conformance.target import JSON, Server, producer

SECURITY: Final = Topic("security", "12.7", "Security headers")

_ORIGIN: Final = {"Origin": "https://app.example"}
_SENT_BY_CLIENTS: Final = (
    "Content-Type",
    "Stream-Seq",
    "Stream-TTL",
    "Stream-Expires-At",
    "Stream-Closed",
    "Stream-Forked-From",
    "Stream-Fork-Offset",
    "Stream-Fork-Sub-Offset",
    "Producer-Id",
    "Producer-Epoch",
    "Producer-Seq",
)
_READ_BY_CLIENTS: Final = (
    "Stream-Next-Offset",
    "Stream-Cursor",
    "Stream-Up-To-Date",
    "Stream-Closed",
    "Producer-Epoch",
    "Producer-Seq",
    "Producer-Expected-Seq",
    "Producer-Received-Seq",
    "ETag",
)


def _expect_nosniff(reply: Reply) -> None:
    reply.expect_header("X-Content-Type-Options", "nosniff")


@SECURITY.should("12.7")
async def creations_forbid_sniffing(server: Server) -> None:
    stream = server.unused()
    _expect_nosniff((await stream.put()).expect(201))
    _expect_nosniff((await stream.put()).expect(200))


@SECURITY.should("12.7")
async def appends_forbid_sniffing(server: Server) -> None:
    stream = await server.create()
    _expect_nosniff((await stream.post(b"data")).expect(204))
    _expect_nosniff((await stream.post(b"data", headers=producer("p", 0, 0))).expect(200))


@SECURITY.should("12.7")
async def reads_forbid_sniffing(server: Server) -> None:
    stream = await server.create(body=b"<script>alert(1)</script>")
    page = (await stream.get()).expect(200)
    _expect_nosniff(page)
    _expect_nosniff((await stream.get("now")).expect(200))
    _expect_nosniff((await stream.get(headers={"If-None-Match": page.value("ETag")})).expect(304))


@SECURITY.should("12.7")
async def head_forbids_sniffing(server: Server) -> None:
    _expect_nosniff((await (await server.create()).head()).expect(200))


@SECURITY.should("12.7")
async def deletes_forbid_sniffing(server: Server) -> None:
    _expect_nosniff((await (await server.create()).delete()).expect(204))


@SECURITY.should("12.7")
async def long_polls_forbid_sniffing(server: Server) -> None:
    stream = await server.create(body=b"data")
    _expect_nosniff((await stream.poll("-1")).expect(200))
    tail = (await stream.close()).next_offset
    _expect_nosniff((await stream.poll(tail)).expect(204))


@SECURITY.should("12.7")
async def event_streams_forbid_sniffing(server: Server) -> None:
    _expect_nosniff((await (await server.create()).sse("-1")).expect(200))


@SECURITY.should("12.7")
async def refusals_forbid_sniffing(server: Server) -> None:
    stream = await server.create()
    _expect_nosniff((await stream.get("0,1")).expect(400))
    _expect_nosniff((await server.unused().get()).expect(404))
    _expect_nosniff((await server.unused().head()).expect(404))
    _expect_nosniff((await stream.post(b"{}", content_type=JSON)).expect(409))
    _expect_nosniff((await stream.put(content_type=JSON)).expect(409))


@SECURITY.should("12.7")
async def reads_have_a_cross_origin_resource_policy(server: Server) -> None:
    stream = await server.create(body=b"data")
    for reply in (await stream.get(), await stream.poll("-1"), await stream.sse("-1")):
        policy = reply.expect(200).value("Cross-Origin-Resource-Policy")
        expect_that(
            policy in ("cross-origin", "same-site", "same-origin"), "one of the three policies", policy
        )


# CORS


async def _preflight(server: Server, method: str, *headers: str) -> Reply:
    stream = await server.create()
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": ", ".join(headers)}
    return (await server.send("OPTIONS", stream.path, headers={**_ORIGIN, **asked})).expect(200, 204)


def _names(reply: Reply, header: str) -> set[str]:
    return {name.strip().lower() for name in reply.value(header).split(",")}


@SECURITY.quality("Fetch §3.2")
async def a_preflight_is_answered_for_every_method(server: Server) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        reply = await _preflight(server, method, "content-type")
        allowed = _names(reply, "Access-Control-Allow-Methods")
        expect_that({method.lower(), "*"} & allowed, f"{method} to be allowed", allowed)
        expect_that(
            reply.value("Access-Control-Allow-Origin") in ("*", _ORIGIN["Origin"]), "the origin", reply
        )


@SECURITY.quality("Fetch §3.2")
async def a_preflight_allows_conditional_reads(server: Server) -> None:
    allowed = _names(await _preflight(server, "GET", "if-none-match"), "Access-Control-Allow-Headers")
    expect_that({"if-none-match", "*"} & allowed, "If-None-Match to be allowed", allowed)


@SECURITY.quality("Fetch §3.2")
async def a_preflight_allows_the_protocols_headers(server: Server) -> None:
    wanted = [name.lower() for name in _SENT_BY_CLIENTS]
    allowed = _names(await _preflight(server, "POST", *wanted), "Access-Control-Allow-Headers")
    expect_that(
        "*" in allowed or set(wanted) <= allowed, "all of the protocol's headers", set(wanted) - allowed
    )


@SECURITY.quality("Fetch §3.2")
async def a_preflight_allows_authorization(server: Server) -> None:
    # Not covered by `*`: the Fetch standard wants it by name.
    allowed = _names(await _preflight(server, "GET", "authorization"), "Access-Control-Allow-Headers")
    expect_that("authorization" in allowed, "Authorization by name", allowed)


@SECURITY.quality("Fetch §3.2")
async def browsers_may_read_the_protocols_headers(server: Server) -> None:
    stream = await server.create(body=b"data")
    for reply in (await stream.get(headers=_ORIGIN), await stream.poll("-1", headers=_ORIGIN)):
        exposed = _names(reply, "Access-Control-Expose-Headers")
        missing = {name.lower() for name in _READ_BY_CLIENTS} - exposed
        expect_that("*" in exposed or not missing, "all of the protocol's headers to be exposed", missing)
        expect_that(
            reply.value("Access-Control-Allow-Origin") in ("*", _ORIGIN["Origin"]), "the origin", reply
        )


@SECURITY.quality("Fetch §3.2")
async def browsers_may_read_refusals(server: Server) -> None:
    reply = (await server.unused().get(headers=_ORIGIN)).expect(404)
    expect_that(reply.value("Access-Control-Allow-Origin") in ("*", _ORIGIN["Origin"]), "the origin", reply)


# Leaks and injection


@SECURITY.quality("12.2")
async def refusals_show_no_inner_workings(server: Server) -> None:
    stream = await server.create(JSON)
    replies = [
        await stream.post(b"{broken"),
        await stream.post(b'"\xff"'),
        await stream.get("0,1"),
        await stream.put(headers={"Stream-TTL": "x"}),
        await server.send("PATCH", stream.path, b"x"),
    ]
    for reply in replies:
        leaks = [
            mark for mark in (b"Traceback", b'File "/', b"node_modules", b"    at ") if mark in reply.body
        ]
        expect_equal(leaks, [], "signs of a stack trace in a refusal")


@SECURITY.quality("12.2")
async def a_path_cannot_inject_headers(server: Server) -> None:
    stream = server.unused("%0d%0aX-Injected:%20yes%0d%0a")
    for reply in (await stream.put(), await stream.get(), await stream.delete()):
        reply.expect_no_server_error().expect_no_header("X-Injected")


@SECURITY.quality("12.2")
async def a_content_type_cannot_inject_events(server: Server) -> None:
    stream = server.unused()
    reply = await stream.put(content_type="text/plain; x=\tevent: control")
    reply.expect(201, 400)
    (await stream.sse("-1")).expect(200, 404).expect_no_header("event")


@SECURITY.quality("12.2")
async def dots_in_a_path_do_not_leave_the_root(server: Server) -> None:
    for path in (
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/....//etc/passwd",
    ):
        reply = (await server.send("GET", f"{server.root}{path}")).expect_refusal()
        expect_that(b"root:" not in reply.body, "no file of the machine", reply.body[:40])
