"""What a server's `/metrics` says, as numbers, and waiting until it says something."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import anyio
import httpx

from support.waiting import PATIENCE_S

__all__ = ["parse_metrics", "readers", "scrape", "until_readers", "until_scraped"]

_SAMPLE: Final = re.compile(r"([a-z_]+(?:\{[^{}]*\})?) (\S+)")


def parse_metrics(text: str) -> dict[str, float]:
    """Samples by name and labels; fails on a line that Prometheus would not take."""
    samples = [line for line in text.splitlines() if not line.startswith("# ")]
    matches = [_SAMPLE.fullmatch(line) for line in samples]
    return {match[1]: float(match[2]) for match in matches if match is not None} if all(matches) else {}


async def scrape(url: str, transport: httpx.AsyncBaseTransport | None = None) -> dict[str, float]:
    """The samples of the server whose streams are below a URL."""
    async with httpx.AsyncClient(timeout=PATIENCE_S, transport=transport) as client:
        reply = await client.get(url.removesuffix("/v1/stream") + "/metrics")
    return parse_metrics(reply.raise_for_status().text)


async def until_scraped(
    url: str, holds: Callable[[dict[str, float]], bool], transport: httpx.AsyncBaseTransport | None = None
) -> None:
    """Scrape until a condition holds."""
    with anyio.fail_after(PATIENCE_S):
        while not holds(await scrape(url, transport)):
            await anyio.sleep(0.01)


def readers(counted: dict[str, float], mode: str) -> float:
    """How many live readers there are in a mode."""
    return counted[f'durafold_readers{{mode="{mode}"}}']


async def until_readers(
    url: str, transport: httpx.AsyncBaseTransport | None = None, *, sse: int = 0, long_poll: int = 0
) -> None:
    """Wait until at least so many live reads are under way."""

    def are_there(counted: dict[str, float]) -> bool:
        return readers(counted, "sse") >= sse and readers(counted, "long-poll") >= long_poll

    await until_scraped(url, are_there, transport)
