"""A complete server of the Durable Streams protocol: pure rules, durable stores, plain ASGI."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("msgspec") is None:
    raise ModuleNotFoundError('the stream server needs: pip install "durafold[server]"', name="msgspec")

from durafold_server.access import Authenticate, Authorize, Grant, Identity, Operation, Scope
from durafold_server.config import ConnectionLimits, ServeSettings, ServiceSettings
from durafold_server.http.app import DurableStreamsApp, create_app
from durafold_server.server import Server, ServerError

__all__ = [
    "Authenticate",
    "Authorize",
    "ConnectionLimits",
    "DurableStreamsApp",
    "Grant",
    "Identity",
    "Operation",
    "Scope",
    "ServeSettings",
    "Server",
    "ServerError",
    "ServiceSettings",
    "create_app",
]
