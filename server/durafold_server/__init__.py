"""A complete server of the Durable Streams protocol: pure rules, durable stores, plain ASGI."""

from __future__ import annotations

from durafold_server.config import ServeSettings
from durafold_server.http.app import DurableStreamsApp, create_app

__all__ = ["DurableStreamsApp", "ServeSettings", "create_app"]
