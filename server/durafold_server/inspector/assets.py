"""The page's files, read once from the installed package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

_TYPES: Final = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}


class Asset(NamedTuple):
    """One file: what it holds, what it is, and a tag that changes with it."""

    body: bytes
    content_type: bytes
    etag: str


def load_assets() -> Mapping[str, Asset]:
    """All files by their path below the page's address; the page itself is `index.html`.

    Only what is in this mapping is ever served, so no path can lead out of the package.
    """
    static = files("durafold_server.inspector").joinpath("static")
    return {name: _asset(name, file.read_bytes()) for name, file in _walk(static, "")}


def _walk(folder: Traversable, below: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{below}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            yield below + entry.name, entry


def _asset(name: str, body: bytes) -> Asset:
    return Asset(body, _TYPES[name.rpartition(".")[2]], f'"{hashlib.sha256(body).hexdigest()[:20]}"')
