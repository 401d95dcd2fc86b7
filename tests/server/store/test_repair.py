"""`durafold repair`: what it keeps, what becomes of offsets and producers, and that it can be interrupted."""

from __future__ import annotations

import contextlib
import shutil
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from durafold_server.protocol import errors, responses
from durafold_server.protocol.requests import AppendRequest
from durafold_server.service import StreamService
from durafold_server.store.base import StoreDamaged, StoreFailure
from durafold_server.store.sqlite import SqliteStore, records, repair
from durafold_server.store.sqlite.repair import repair_directory
from support.registry import registered
from support.server_requests import append_request, create_request, next_offset, read_request

pytestmark = pytest.mark.anyio


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "data"


@contextlib.asynccontextmanager
async def served(directory: Path) -> AsyncIterator[StreamService]:
    """A service on the directory."""
    service = StreamService(await SqliteStore.open(directory))
    try:
        yield service
    finally:
        await service.aclose()


def execute(directory: Path, sql: str) -> list[Any]:
    with contextlib.closing(apsw.Connection(str(directory / "streams.db"))) as connection:
        return connection.execute(sql).fetchall()


def etag(reply: responses.Reply) -> str:
    return dict(reply.headers)[b"etag"].decode()


async def append(
    service: StreamService, path: str, data: bytes, epoch: int | None = None, seq: int = 0
) -> str:
    """Append text, as producer `p` if an epoch is given; the offset behind it."""
    producer = {"producer_id": "p", "producer_epoch": str(epoch), "producer_seq": str(seq)}
    claim = producer if epoch is not None else {}
    request = append_request(path, data, content_type="text/plain", **claim)
    return next_offset(responses.appended(await service.append(request)))


async def fill(directory: Path) -> list[str]:
    """Stream `s` of three chunks by producer `p`, fork `f` of it, and stream `t`; the offsets in `s`."""
    async with served(directory) as service:
        await service.create(create_request("s", content_type="text/plain"))
        offsets = [await append(service, "s", b"%d" % seq * 10, 0, seq) for seq in range(3)]
        await service.create(
            create_request("f", content_type="text/plain", stream_forked_from="/v1/stream/s")
        )
        await append(service, "f", b"fork")
        await service.create(create_request("t", content_type="text/plain"))
        await append(service, "t", b"whole", 0, 0)
        await service.store.put_record("r", b"value")
    return offsets


def damage(directory: Path) -> None:
    """The second chunk of `s` changes."""
    execute(directory, "UPDATE chunk SET data = CAST('x' AS BLOB) WHERE start = 10")


async def content(service: StreamService, path: str, offset: str = "-1") -> bytes:
    return (await service.read(read_request(path, offset))).data


async def test_an_undamaged_directory_is_left_alone(directory: Path) -> None:
    await fill(directory)
    before = (directory / "streams.db").read_bytes()

    done = repair_directory(directory)

    assert done.findings.is_sound
    assert done.aside is None
    assert (directory / "streams.db").read_bytes() == before


async def test_every_stream_keeps_what_lies_before_the_damage(directory: Path) -> None:
    await fill(directory)
    damage(directory)

    done = repair_directory(directory)

    assert not done.findings.has_all
    async with served(directory) as service:
        assert await content(service, "s") == b"0" * 10
        assert await content(service, "f") == b"0" * 10
        assert await content(service, "t") == b"whole"
        assert await service.store.records("") == {"r": b"value"}


async def test_the_damaged_files_are_put_aside_unchanged(directory: Path) -> None:
    await fill(directory)
    damage(directory)
    before = (directory / "streams.db").read_bytes()

    done = repair_directory(directory)

    assert done.aside is not None
    assert (done.aside / "streams.db").read_bytes() == before


async def test_a_dry_run_says_the_same_and_changes_nothing(directory: Path) -> None:
    await fill(directory)
    damage(directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}

    dry = repair_directory(directory, dry_run=True)

    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    lines = list(repair.report(dry, dry_run=True))
    assert "lost 20 of 30 bytes" in "\n".join(lines)
    assert lines[-1].startswith("nothing was changed")
    assert list(repair.report(repair_directory(directory), dry_run=False))[:-1] == lines[:-1]


async def test_offsets_of_what_is_kept_stay_valid_and_others_are_never_given_to_new_data(
    directory: Path,
) -> None:
    kept, lost, tail = await fill(directory)
    damage(directory)
    repair_directory(directory)

    async with served(directory) as service:
        assert await content(service, "s", kept) == b""
        new = [await append(service, "s", b"n" * 10) for _ in range(3)]
        assert await content(service, "s", kept) == b"n" * 30
        assert len({kept, lost, tail, *new}) == 6
        assert sorted([kept, lost, tail, *new]) == [kept, lost, tail, *new]
        for gone in (lost, tail):
            with pytest.raises(errors.Gone):
                await content(service, "s", gone)
        await service.create(
            create_request(
                "g", content_type="text/plain", stream_forked_from="/v1/stream/s", stream_fork_offset=new[0]
            )
        )
        assert await content(service, "g", kept) == b"n" * 10
        assert await content(service, "g", new[0]) == b""


async def test_a_page_of_new_data_has_another_tag_than_one_of_what_was_lost(directory: Path) -> None:
    await fill(directory)
    async with served(directory) as service:
        before = etag(responses.page(await service.read(read_request("s", "-1"))))
    damage(directory)
    repair_directory(directory)

    async with served(directory) as service:
        await append(service, "s", b"n" * 20)
        after = responses.page(await service.read(read_request("s", "-1")), if_none_match=before)

    assert after.status == 200


async def test_producers_of_a_cut_stream_are_fenced_and_go_on_with_the_next_epoch(directory: Path) -> None:
    await fill(directory)
    damage(directory)
    repair_directory(directory)

    async with served(directory) as service:
        for seq in (0, 2, 3):
            with pytest.raises(errors.StaleEpoch):
                await append(service, "s", b"again", 0, seq)
        await append(service, "s", b"on", 1, 0)
        assert await content(service, "s") == b"0" * 10 + b"on"


async def test_producers_of_a_whole_stream_keep_their_place(directory: Path) -> None:
    await fill(directory)
    damage(directory)
    repair_directory(directory)

    async with served(directory) as service:
        await append(service, "t", b"again", 0, 0)
        await append(service, "t", b" more", 0, 1)
        assert await content(service, "t") == b"whole more"


async def test_a_damaged_producer_is_fenced(directory: Path) -> None:
    await fill(directory)
    execute(directory, "UPDATE producer SET last_seq = 0")

    assert not repair_directory(directory).findings.has_all

    async with served(directory) as service:
        with pytest.raises(errors.StaleEpoch):
            await append(service, "s", b"again", 0, 1)
        assert await content(service, "s") == b"0" * 10 + b"1" * 10 + b"2" * 10


@pytest.mark.parametrize("row", [("p", "text", 0, 1, None), ("p", 0, None, 1, None), (b"p", 0, 0, 1, None)])
def test_a_producer_of_which_a_value_has_another_type_is_damaged(row: Any) -> None:
    with pytest.raises(StoreDamaged, match="fails its checksum"):
        records.decode_producer(1, *row)


@pytest.mark.parametrize("harm", ["UPDATE producer SET last_seq = 7", "UPDATE chunk SET data = x'00'"])
async def test_a_producer_that_is_fenced_stays_whose_it_was(directory: Path, harm: str) -> None:
    async with served(directory) as service:
        await service.create(create_request("s", content_type="text/plain"))
        await service.append(sent_by(b"ada", b"kept", epoch=0))
    execute(directory, harm)
    assert not repair_directory(directory).findings.has_all

    async with served(directory) as service:
        with pytest.raises(errors.ProducerTaken):
            await service.append(sent_by(b"bob", b"forged", epoch=1))
        assert (await service.append(sent_by(b"ada", b" on", epoch=1))).added_data


def sent_by(sender: bytes, data: bytes, epoch: int) -> AppendRequest:
    claim = {"producer_id": "p", "producer_epoch": str(epoch), "producer_seq": "0"}
    return replace(append_request("s", data, content_type="text/plain", **claim), sender=sender)


async def test_a_stream_whose_record_is_lost_does_not_take_its_forks_with_it(directory: Path) -> None:
    await fill(directory)
    execute(directory, "UPDATE stream SET record = x'00' WHERE path = 's'")

    done = repair_directory(directory)

    assert done.findings.lost_streams == ["s"]
    async with served(directory) as service:
        assert await content(service, "f") == b"0" * 10 + b"1" * 10 + b"2" * 10 + b"fork"
        with pytest.raises(errors.NotFound):
            await content(service, "s")


async def test_a_repaired_stream_is_removed_with_all_its_data(directory: Path) -> None:
    await fill(directory)
    damage(directory)
    repair_directory(directory)

    async with served(directory) as service:
        await append(service, "s", b"new")
        for path in ("f", "s", "t"):
            await service.delete(path)

    kept = "SELECT path FROM stream WHERE id IN (SELECT stream_id FROM chunk)"
    assert execute(directory, kept) == [("__registry__",)]
    assert execute(directory, "SELECT * FROM chunk WHERE stream_id NOT IN (SELECT id FROM stream)") == []


async def test_after_a_loss_the_registry_is_made_from_the_streams_that_are_left(directory: Path) -> None:
    await fill(directory)
    execute(directory, "UPDATE stream SET record = x'00' WHERE path = 't'")

    repair_directory(directory)

    async with served(directory) as service:
        await service.start()
        assert await registered(service) == {"s": False, "f": False}


async def test_damage_to_the_registry_alone_loses_nothing(directory: Path) -> None:
    await fill(directory)
    of_registry = "(SELECT id FROM stream WHERE path = '__registry__')"
    execute(directory, f"UPDATE chunk SET data = CAST('x' AS BLOB) WHERE stream_id = {of_registry}")

    done = repair_directory(directory)

    assert done.aside is not None
    assert done.findings.has_all
    async with served(directory) as service:
        await service.start()
        assert await registered(service) == {"s": False, "f": False, "t": False}
        assert await content(service, "s") == b"0" * 10 + b"1" * 10 + b"2" * 10


async def test_what_retention_has_trimmed_is_not_missed(directory: Path) -> None:
    async with served(directory) as service:
        request = create_request("s", content_type="text/plain", stream_retention_bytes="10")
        await service.create(request)
        for digit in range(3):
            await append(service, "s", b"%d" % digit * 10)
        await service.reap()

    assert repair_directory(directory).findings.is_sound
    execute(directory, "UPDATE stream SET record = x'00' WHERE path = '__registry__'")
    repair_directory(directory)

    async with served(directory) as service:
        assert await content(service, "s") == b"2" * 10
        assert (await service.head("s")).start == 20


async def test_a_damaged_file_of_format_1_is_rebuilt(directory: Path) -> None:
    await fill(directory)
    for stream_id, start, data in execute(directory, "SELECT stream_id, start, data FROM chunk"):
        checksum = zlib.crc32(data, zlib.crc32(struct.pack("<qq", stream_id, start)))
        where = f"stream_id = {stream_id} AND start = {start}"
        execute(directory, f"UPDATE chunk SET checksum = {checksum} WHERE {where}")
    execute(directory, "ALTER TABLE chunk DROP COLUMN appended_us")
    execute(directory, "ALTER TABLE producer DROP COLUMN owner")
    execute(directory, "PRAGMA user_version = 1")
    damage(directory)

    repair_directory(directory)

    assert execute(directory, "PRAGMA user_version") == [(3,)]
    async with served(directory) as service:
        assert await content(service, "s") == b"0" * 10
        assert await content(service, "t") == b"whole"


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 80634581", "PRAGMA application_id = 7"])
async def test_a_damaged_header_loses_nothing(directory: Path, statement: str) -> None:
    await fill(directory)
    execute(directory, statement)
    with pytest.raises(StoreDamaged, match=r"header .* is damaged.*durafold repair"):
        await SqliteStore.open(directory)

    done = repair_directory(directory)

    assert done.findings.has_all
    async with served(directory) as service:
        assert await content(service, "t") == b"whole"


async def test_a_file_that_was_cut_to_nothing_is_begun_anew_from_its_log(
    directory: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    async with served(directory) as service:
        await service.create(create_request("s", content_type="text/plain"))
        execute(directory, "PRAGMA wal_checkpoint(TRUNCATE)")
        await append(service, "s", b"x")  # fits into pages that are there: the log does not say how many
        shutil.copytree(directory, cut)
    with (cut / "streams.db").open("r+b") as file:
        file.truncate(100)

    repair_directory(cut)

    assert repair_directory(cut).findings.is_sound


async def test_creating_a_repaired_stream_again_confirms_it(directory: Path) -> None:
    await fill(directory)
    damage(directory)
    repair_directory(directory)

    async with served(directory) as service:
        assert not (await service.create(create_request("s", content_type="text/plain"))).new


@pytest.mark.parametrize("moved", [(), ("streams.db",)])
async def test_an_interrupted_repair_is_finished_by_the_next_one(
    directory: Path, moved: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(directory)
    damage(directory)
    with monkeypatch.context() as context:
        context.setattr(repair, "_begin", lambda file, aside: _die(file, aside, moved))
        with pytest.raises(KeyboardInterrupt):
            repair_directory(directory)

    with pytest.raises(StoreDamaged, match="interrupted"):
        await SqliteStore.open(directory)
    with pytest.raises(StoreFailure, match="interrupted"):
        repair_directory(directory, dry_run=True)
    assert repair_directory(directory).findings.is_sound
    async with served(directory) as service:
        assert await content(service, "s") == b"0" * 10


def _die(file: Path, aside: str, moved: tuple[str, ...]) -> None:
    _really_begin(file, aside)
    for name in moved:
        (file.parent / name).rename(file.parent / aside / name)
    raise KeyboardInterrupt


_really_begin = repair._begin


async def test_a_directory_in_use_is_not_repaired(directory: Path) -> None:
    async with served(directory):
        with pytest.raises(StoreFailure, match="in use by another server"):
            repair_directory(directory)


def test_the_command_says_that_there_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert repair.main(["--data", str(tmp_path)]) == 1
    assert "there is no" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


async def test_the_command_tells_loss_by_its_exit_code(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await fill(directory)
    sound = repair.main(["--data", str(directory)])
    damage(directory)
    codes = [repair.main(["--data", str(directory), *more]) for more in (["--dry-run"], [], [])]

    assert [sound, *codes] == [0, 3, 3, 0]
    assert "nothing is damaged" in capsys.readouterr().out.splitlines()[-1]
