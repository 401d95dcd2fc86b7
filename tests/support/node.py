"""Which Node.js the tests run programs with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["node_environment"]

OLDEST_NODE: Final = 20


def node_environment() -> dict[str, str]:
    """Environment whose PATH finds the machine's node and npm if they are new enough, else those of .venv."""
    return {**os.environ, "PATH": f"{_node_directory()}{os.pathsep}{os.environ['PATH']}"}


def _node_directory() -> Path:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _major_version(node) >= OLDEST_NODE:
        return Path(node).parent
    return Path(sys.executable).parent


def _major_version(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])
