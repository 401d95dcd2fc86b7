"""Every setting of the server, with its default, unit and meaning in one place.

Flags, environment variables, keys of the configuration file, `config show` and the reference page are all
made from these fields: see `settings.py`. A field's metadata holds `help`, and where needed `choices`, `name`
(what users call it, if not the field's name), `least` and `most` (bounds, included; numbers are greater than
0 otherwise), and `each` (the flag for one of several values).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from durafold.wire.names import DEFAULT_PORT, DEFAULT_PREFIX
from durafold_server.access import SYNTAX, Token

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """How streams are served, whatever the transport."""

    long_poll_timeout_s: float = field(
        default=30.0, metadata={"help": "seconds a long-poll waits for data before it answers 204"}
    )
    sse_max_age_s: float = field(
        default=60.0, metadata={"help": "seconds after which an SSE connection is ended, to be resumed"}
    )
    heartbeat_s: float = field(
        default=15.0, metadata={"help": "seconds of silence after which SSE sends a comment"}
    )
    max_body_bytes: int = field(default=4 * MIB, metadata={"help": "largest request body in bytes"})
    max_page_bytes: int = field(default=MIB, metadata={"help": "data of one page in bytes, if appends allow"})
    max_path_chars: int = field(
        default=2048, metadata={"help": "longest path of a stream in characters, percent-encoding included"}
    )
    max_json_depth: int = field(
        default=128,
        metadata={"help": "deepest nesting of one JSON message; many readers fail beyond 500", "most": 500},
    )
    registry: bool = field(
        default=True, metadata={"help": "keep the stream __registry__, which tells of all others"}
    )
    retention_bytes: int = field(
        default=0, metadata={"help": "newest bytes that are kept of each stream, 0 for all", "least": 0}
    )
    retention_age_s: int = field(
        default=0, metadata={"help": "seconds that the data of each stream is kept, 0 for ever", "least": 0}
    )
    bindings: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "PATTERN=module:name: streams whose appends a reducer has to accept, such as "
            "stock/*=app.reducers:stock",
            "each": "bind",
        },
    )
    reducer_timeout_s: float = field(
        default=5.0,
        metadata={"help": "seconds that an append waits for the stream's reducer before it answers 503"},
    )
    folded_states_bytes: int = field(
        default=64 * MIB,
        metadata={"help": "folded states of bound streams in memory, in bytes of JSON"},
    )
    webhooks: Literal["off", "local", "public"] = field(
        default="off",
        metadata={
            "help": "webhooks of subscriptions: none, also to this machine, or to public hosts only",
            "choices": ("off", "local", "public"),
        },
    )


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What client connections may cost."""

    max_connections: int = field(
        default=10_000, metadata={"help": "open connections; further ones are answered 503 and closed"}
    )
    max_head_bytes: int = field(default=64 * 1024, metadata={"help": "largest target and headers in bytes"})
    header_timeout_s: float = field(
        default=10.0, metadata={"help": "seconds for a request's head to arrive, from its first byte on"}
    )
    idle_timeout_s: float = field(
        default=30.0,
        metadata={"help": "seconds for a request to arrive whole, and of keeping an idle connection"},
    )
    write_timeout_s: float = field(
        default=30.0, metadata={"help": "seconds after which a client that does not read is cut"}
    )


@dataclass(frozen=True, slots=True)
class InspectorSettings:
    """The web page to look at streams with.

    Attributes:
        enabled: whether it is served at all.
        reducers: `module` or `module:name` of reducers whose states it can show.
    """

    enabled: bool = True
    reducers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `durafold serve` starts."""

    host: str = field(default="127.0.0.1", metadata={"help": "address to listen on"})
    port: int = field(
        default=DEFAULT_PORT,
        metadata={"help": "port to listen on, 0 for any free one", "least": 0, "most": 65535},
    )
    data_dir: Path | None = field(
        default=Path("durafold-data"), metadata={"help": "data directory", "name": "data"}
    )
    memory: bool = field(default=False, metadata={"help": "keep data in memory only: all is lost at exit"})
    prefix: str = field(
        default=DEFAULT_PREFIX,
        metadata={"help": "path that all streams are below; / leaves no place for /healthz and its like"},
    )
    tokens: tuple[Token, ...] = field(
        default=(),
        metadata={
            "help": f"bearer token and what it allows: {SYNTAX}; with one, every request needs one",
            "each": "token",
        },
    )
    tokens_file: Path | None = field(default=None, metadata={"help": "file with further tokens, one a line"})
    insecure: bool = field(
        default=False,
        metadata={"help": "serve other machines without access control: anybody may do anything"},
    )
    metrics_open: bool = field(
        default=False, metadata={"help": "answer /metrics without a token that allows admin"}
    )
    cors: bool = field(default=True, metadata={"help": "answer preflights, and let web pages read replies"})
    cors_origins: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "origin of web pages that may read replies, such as https://app.example; any if none",
            "each": "cors-origin",
        },
    )
    access_log: Literal["off", "text", "json"] = field(
        default="off",
        metadata={
            "help": "write a line to standard error for each request",
            "choices": ("off", "text", "json"),
        },
    )
    inspector: bool = field(default=True, metadata={"help": "serve a page to look at streams with, at /_ui"})
    reducers: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "module or module:name of reducers whose states the inspector can show; the bindings of "
            "these modules count",
            "each": "reducers",
        },
    )
    service: ServiceSettings = field(default_factory=ServiceSettings)
    connection: ConnectionLimits = field(default_factory=ConnectionLimits)
