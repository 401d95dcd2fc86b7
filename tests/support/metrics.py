"""What a server's `/metrics` says, as numbers."""

from __future__ import annotations

import re
from typing import Final

import httpx

__all__ = ["parse_metrics", "scrape"]

_SAMPLE: Final = re.compile(r"([a-z_]+(?:\{[^{}]*\})?) (\S+)")


def parse_metrics(text: str) -> dict[str, float]:
    """Samples by name and labels; fails on a line that Prometheus would not take."""
    samples = [line for line in text.splitlines() if not line.startswith("# ")]
    matches = [_SAMPLE.fullmatch(line) for line in samples]
    return {match[1]: float(match[2]) for match in matches if match is not None} if all(matches) else {}


async def scrape(url: str) -> dict[str, float]:
    """The samples of the server whose streams are below a URL."""
    async with httpx.AsyncClient(timeout=20) as client:
        reply = await client.get(url.removesuffix("/v1/stream") + "/metrics")
    return parse_metrics(reply.raise_for_status().text)
