"""Memory that is let go of stays with the process, so that the next page is made of it."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from durafold_server.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
page = bytes(1 << 20)
pages = [page + page for _ in range(3)]
pages.clear()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    pages = [page + page for _ in range(3)]
    pages.clear()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keep: bool) -> int:
    """Pieces of memory that the system had to provide for 300 blocks of 2 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "keep" if keep else "default"], capture_output=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif("not sys.platform.startswith('linux')", reason="other systems' allocators differ")
def test_pages_are_made_of_memory_that_is_there() -> None:
    pieces = 300 * (2 << 20) // resource.getpagesize()

    assert faults(keep=True) < pieces / 20
    assert faults(keep=False) > pieces / 4
