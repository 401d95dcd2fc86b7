"""The `durafold` command. The entry point imports this module: it stays small, so that help comes at once.

Exit codes: 0 success, and the orderly end of `serve` and `demo`; 1 failure; 2 wrong usage; 130 Ctrl-C.
"""

from __future__ import annotations

import sys

from durafold.errors import DurafoldError

__all__ = ["main"]


def main() -> int:
    """Run the command that `sys.argv` holds.

    Returns:
        The exit code, where the command line has not ended the process with one itself.
    """
    try:
        from durafold.cli.commands import app
    except ModuleNotFoundError as exc:
        if exc.name != "typer":
            raise
        print('The command line needs an extra: pip install "durafold[cli,server]"', file=sys.stderr)
        return 1
    try:
        app()
    except DurafoldError as exc:
        print(f"durafold: {exc}", file=sys.stderr)
        return 1
    return 0
