"""The streams of one server, shared by everything in a process.

- `core`: `Provider` itself; `life`: how it is opened and left
- `engines` (of `shared`), `rooms`: what it shares: engines by key and rooms by name, each as long as somebody
  uses it; `connection`: how they are doing
- `ambient`: which provider hooks use
- `belongings`: what else may be opened on it, or ends with it
- `defaults`: what it does where its user says nothing
"""

from __future__ import annotations

from durafold.provider.ambient import ambient_provider, use_provider
from durafold.provider.belongings import Attached, Openable
from durafold.provider.connection import Connection
from durafold.provider.core import Provider

__all__ = ["Attached", "Connection", "Openable", "Provider", "ambient_provider", "use_provider"]
