"""Where a run was made, and with what: numbers without that say little."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("durafold", "apsw", "httptools", "msgspec", "uvloop")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a run.

    Attributes:
        system: operating system and kernel.
        cpu: model name, empty if it is not known.
        cores: number of CPUs.
        memory_mb: RAM in MB.
        load_average: of the minute before the run: what others were doing.
        data_filesystem: type of the file system that the started servers' data is on, empty if not known.
    """

    system: str
    cpu: str
    cores: int
    memory_mb: int
    load_average: float
    data_filesystem: str


def describe_machine(data_dir: Path) -> Machine:
    """This machine, now."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        system=platform.platform(),
        cpu=_cpu_model(),
        cores=os.cpu_count() or 0,
        memory_mb=memory_bytes // 1_000_000,
        load_average=os.getloadavg()[0],
        data_filesystem=filesystem_of(data_dir),
    )


def describe_versions() -> dict[str, str]:
    """Versions of Python and of what our server is made of."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def filesystem_of(directory: Path) -> str:
    """The type of the file system that holds a directory, such as `ext4`; empty if it is not known."""
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        return ""
    device = directory.stat().st_dev
    place = f"{os.major(device)}:{os.minor(device)}"
    # proc(5): id, parent, major:minor, …, "-", type, source, options
    for line in mounts.read_text().splitlines():
        fields = line.split()
        if fields[2] == place:
            return fields[fields.index("-") + 1]
    return ""


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())
