"""Files are cut, garbled, extended and flipped at many places: never a wrong answer, and a way back.

A damaged store either holds what was acknowledged, or refuses by name and says what to run. A log may also
have lost its end, as after a crash: then the store is as it was at an earlier acknowledgement. `durafold
repair` makes every damaged directory usable, keeps of every stream a beginning, and never gives an offset of
what is lost to other data.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import pytest

from durafold_server.store.base import StoreDamaged
from durafold_server.store.sqlite import SqliteStore, health
from durafold_server.store.sqlite.repair import repair_directory
from support.histories import Change, History, State, changes, observe
from support.server_stores import ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

SEED: Final = int(os.environ.get("TORTURE_SEED", "1"))
PLACES: Final = int(os.environ.get("TORTURE_PLACES", "12"))
CHANGES: Final = 60
Damage = Callable[[bytes, int, Random], bytes]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def cut(content: bytes, at: int, chance: Random) -> bytes:
    return content[:at]


def garbled(content: bytes, at: int, chance: Random) -> bytes:
    return content[:at] + chance.randbytes(512) + content[at + 512 :]


def zeroed(content: bytes, at: int, chance: Random) -> bytes:
    return content[:at] + bytes(4096) + content[at + 4096 :]


def flipped(content: bytes, at: int, chance: Random) -> bytes:
    return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]


def extended(content: bytes, at: int, chance: Random) -> bytes:
    return content + bytes(at)


async def fill(directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """A store whose file and log both hold much, left as by a crash; the states that were acknowledged."""
    monkeypatch.setattr(health, "CHECKPOINT_FRAMES", 60)
    history, states = History([]), list[State]()
    live = directory.with_name("live")
    store = await SqliteStore.open(live, ManualClock())
    for path in ("k", "l", "m", "n"):
        await history.carry_out(store, Change("make", path))
        for seq in range(8):
            await history.carry_out(store, Change("append", path, f"{path}{seq};".encode() * 700, seq))
    for change in changes(Random(SEED), CHANGES):
        await history.carry_out(store, change)
        states.append(history.acknowledged)
    shutil.copytree(live, directory)
    await store.aclose()
    return states


async def opened(directory: Path) -> State | StoreDamaged:
    """What a store in the directory answers: all it holds, or its refusal."""
    try:
        store = await SqliteStore.open(directory, ManualClock())
    except StoreDamaged as exc:
        return exc
    try:
        return await observe(store)
    except StoreDamaged as exc:
        return exc
    finally:
        await store.aclose()


def is_beginning(state: State, of: list[State]) -> bool:
    """Whether every stream is one that was acknowledged at some time, or a beginning of it."""
    return all(
        any(path in earlier and earlier[path][0].startswith(content) for earlier in of)
        for path, (content, _, _) in state.items()
        if path != "r"
    )


@pytest.mark.parametrize("damage", [cut, garbled, zeroed, flipped, extended])
@pytest.mark.parametrize("name", ["streams.db", "streams.db-wal"])
async def test_damage_is_never_served_and_can_be_repaired(
    tmp_path: Path, name: str, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = Random(SEED)
    states = await fill(tmp_path / "sound", monkeypatch)
    content = (tmp_path / "sound" / name).read_bytes()
    assert len(content) > 100_000
    # Without its end a log looks as a crash leaves it; its last commit alone may be what a crash tore.
    expected = [states[-1]] if name == "streams.db" else states if damage is cut else states[-2:]
    wrong: list[tuple[int, str, object]] = []
    for at in [0, 20, 40, *(chance.randrange(len(content)) for _ in range(PLACES))]:
        shutil.copytree(tmp_path / "sound", tmp_path / "damaged")
        (tmp_path / "damaged" / name).write_bytes(damage(content, at, chance))
        shutil.copytree(tmp_path / "damaged", tmp_path / "served")
        found = await opened(tmp_path / "served")
        if found not in expected and "durafold repair" not in str(found):
            wrong.append((at, "served", found))
        repair_directory(tmp_path / "damaged", clock=ManualClock(1_900_000_000_000_000))
        repaired = await opened(tmp_path / "damaged")
        if isinstance(repaired, StoreDamaged) or not is_beginning(repaired, states):
            wrong.append((at, "repaired", repaired))
        assert repair_directory(tmp_path / "damaged", dry_run=True).findings.is_sound
        shutil.rmtree(tmp_path / "damaged")
        shutil.rmtree(tmp_path / "served")

    assert wrong == []
