"""How the C library deals with memory that the server lets go of."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_KEPT_BYTES: Final = 8 * 1024 * 1024
_KEPT_BYTES: Final = 16 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Have freed memory kept for the next page that is made; True if this machine's C library can.

    glibc returns blocks as large as a page of a stream to the system at once, and gets each next one from
    there in pieces of 4 KiB that the kernel has to clear: that takes longer than all else that is done for a
    read. At most 16 MiB are kept.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
