"""The files from which an app shows its last state."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")

from durafold.reflex.last_states import LastStates
from durafold.state.models import PLAIN
from durafold.state.snapshot import Snapshot

URL = "http://127.0.0.1:4437/v1/stream"


def snapshot(state: Any, offset: str = "0000000000000001") -> Snapshot[Any]:
    return Snapshot(state, offset, 1, 1, {"client": 1}, "fingerprint")


def test_what_was_saved_is_loaded_by_the_next_process(tmp_path: Path) -> None:
    LastStates(tmp_path, URL).save("demo/counter", snapshot(7), PLAIN)

    assert LastStates(tmp_path, URL).load("demo/counter")["demo/counter"] == 7


def test_the_newest_state_replaces_the_one_before(tmp_path: Path) -> None:
    last_states = LastStates(tmp_path, URL)

    last_states.save("k", snapshot(7, "1"), PLAIN)
    last_states.save("k", snapshot(8, "2"), PLAIN)

    assert last_states.load("k")["k"] == 8
    assert len(list(tmp_path.iterdir())) == 1


def test_streams_and_servers_are_kept_apart(tmp_path: Path) -> None:
    LastStates(tmp_path, URL).save("a", snapshot(1), PLAIN)
    LastStates(tmp_path, "http://elsewhere/v1/stream").save("a", snapshot(2), PLAIN)

    assert LastStates(tmp_path, URL).load("a")["a"] == 1
    assert "b" not in LastStates(tmp_path, URL).load("b")


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff", b"[]", b'{"v": 1}'])
def test_a_damaged_file_is_ignored(tmp_path: Path, damage: bytes) -> None:
    last_states = LastStates(tmp_path, URL)
    last_states.save("k", snapshot(7), PLAIN)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage)

    assert "k" not in last_states.load("k")


def test_nothing_is_kept_of_a_stream_that_could_not_be_folded_in_full(tmp_path: Path) -> None:
    LastStates(tmp_path, URL).save("k", None, PLAIN)

    assert list(tmp_path.iterdir()) == []


def test_a_state_without_json_form_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    last_states = LastStates(tmp_path, URL)

    last_states.save("k", snapshot(object(), "1"), PLAIN)
    last_states.save("k", snapshot(object(), "2"), PLAIN)

    assert caplog.text.count("The last state of k is not kept") == 1


def test_a_disk_that_refuses_is_reported_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("where the directory should be")

    LastStates(tmp_path / "file", URL).save("k", snapshot(7), PLAIN)

    assert "The last state of k is not kept" in caplog.text


def test_others_cannot_read_the_directory(tmp_path: Path) -> None:
    LastStates(tmp_path / "cache", URL).save("k", snapshot(7), PLAIN)

    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
