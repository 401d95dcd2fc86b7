"""Which Node.js the tests run programs with, and the npm packages that those need."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["install_packages", "node_environment", "run_node_program"]

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


def install_packages(folder: Path) -> None:
    """Install what the folder's package.json names, once; a second process that comes meanwhile waits."""
    wanted = (folder / "package.json").read_text()
    modules = folder / "node_modules"
    modules.mkdir(exist_ok=True)
    stamp = modules / ".installed-from"
    with (modules / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        run_node_program(install, folder)
        stamp.write_text(wanted)


def run_node_program(command: Sequence[str], folder: Path, *, check: bool = True, **env: str) -> str:
    """Run it in a folder and return what it said."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**node_environment(), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout
