"""Every setting of the server, with its default, unit and meaning in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from durafold.wire.names import DEFAULT_PORT, DEFAULT_PREFIX

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
    webhooks: Literal["off", "local", "public"] = field(
        default="off",
        metadata={
            "help": "webhooks of subscriptions: none, also to this machine, or to public hosts only",
            "choices": ("off", "local", "public"),
        },
    )


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one client connection may cost."""

    max_head_bytes: int = field(default=64 * 1024, metadata={"help": "largest target and headers in bytes"})
    idle_timeout_s: float = field(
        default=30.0,
        metadata={"help": "seconds for a request to arrive whole, and of keeping an idle connection"},
    )
    write_timeout_s: float = field(
        default=30.0, metadata={"help": "seconds after which a client that does not read is cut"}
    )


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `durafold serve` starts."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    data_dir: Path | None = Path("durafold-data")
    memory: bool = False
    prefix: str = DEFAULT_PREFIX
    cors: bool = True
    service: ServiceSettings = field(default_factory=ServiceSettings)
    connection: ConnectionLimits = field(default_factory=ConnectionLimits)
