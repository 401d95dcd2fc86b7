"""The cache of stream tails: what it gives back, and that it stays within its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from durafold_server.store.sqlite.tail_cache import TailCache

KIB = 1024


def test_chunks_come_back_from_the_one_that_holds_a_position() -> None:
    cache = TailCache()
    cache.append(7, 100, b"abc")
    cache.append(7, 103, b"de")

    assert cache.chunks_from(7, 100) == [(100, b"abc"), (103, b"de")]
    assert cache.chunks_from(7, 102) == [(100, b"abc"), (103, b"de")]
    assert cache.chunks_from(7, 103) == [(103, b"de")]


def test_what_lies_before_the_cached_tail_is_not_here() -> None:
    cache = TailCache()
    cache.append(7, 100, b"abc")

    assert cache.chunks_from(7, 99) is None
    assert cache.chunks_from(8, 100) is None


def test_a_forgotten_stream_is_not_here() -> None:
    cache = TailCache()
    cache.append(7, 0, b"abc")

    cache.forget(7)
    cache.forget(7)

    assert cache.chunks_from(7, 0) is None


def test_a_stream_keeps_its_newest_256_kib() -> None:
    cache = TailCache()
    for n in range(10):
        cache.append(7, n * 100 * KIB, bytes(100 * KIB))

    assert cache.chunks_from(7, 700 * KIB) is None
    assert cache.chunks_from(7, 800 * KIB) == [(800 * KIB, bytes(100 * KIB)), (900 * KIB, bytes(100 * KIB))]


def test_a_chunk_larger_than_that_is_kept_alone() -> None:
    cache = TailCache()
    cache.append(7, 0, b"abc")
    cache.append(7, 3, bytes(300 * KIB))

    assert cache.chunks_from(7, 3) == [(3, bytes(300 * KIB))]
    assert cache.chunks_from(7, 0) is None


def test_what_was_trimmed_is_let_go_of_in_whole_chunks() -> None:
    cache = TailCache(max_bytes=250 * KIB)
    cache.append(1, 0, bytes(100 * KIB))
    cache.append(1, 100 * KIB, bytes(100 * KIB))
    cache.forget_before(1, 150 * KIB)
    cache.append(2, 0, bytes(100 * KIB))

    assert cache.chunks_from(1, 99 * KIB) is None
    assert cache.chunks_from(1, 150 * KIB) == [(100 * KIB, bytes(100 * KIB))]
    assert cache.chunks_from(2, 0) is not None


def test_a_stream_that_was_trimmed_whole_is_forgotten_and_may_come_again() -> None:
    cache = TailCache()
    cache.append(1, 0, b"abc")
    cache.forget_before(1, 3)
    cache.forget_before(2, 3)

    assert cache.chunks_from(1, 3) is None
    cache.append(1, 3, b"de")
    assert cache.chunks_from(1, 3) == [(3, b"de")]


def test_streams_written_longest_ago_go_first() -> None:
    cache = TailCache(max_bytes=250 * KIB)
    cache.append(1, 0, bytes(100 * KIB))
    cache.append(2, 0, bytes(100 * KIB))
    cache.append(1, 100 * KIB, bytes(20 * KIB))

    cache.append(3, 0, bytes(100 * KIB))

    assert cache.chunks_from(2, 0) is None
    assert cache.chunks_from(1, 0) is not None
    assert cache.chunks_from(3, 0) is not None


def test_the_memory_for_many_small_chunks_is_bounded_too() -> None:
    cache = TailCache(max_bytes=100 * KIB)
    for stream_id in range(1000):
        cache.append(stream_id, 0, b"x")
    kept = [stream_id for stream_id in range(1000) if cache.chunks_from(stream_id, 0) is not None]
    for position in range(10_000):
        cache.append(1000, position, b"x")

    assert kept == list(range(1000 - len(kept), 1000))
    assert 50 <= len(kept) <= 100
    assert cache.chunks_from(1000, 5_000) is None
    assert cache.chunks_from(1000, 9_500) is not None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 1_500), st.booleans()), max_size=60))
def test_it_never_holds_more_than_its_bound_and_what_it_holds_is_right(
    steps: list[tuple[int, int, bool]],
) -> None:
    cache = TailCache(max_bytes=5_000)
    tails = dict.fromkeys(range(6), 0)
    for stream_id, size, removed in steps:
        cache.append(stream_id, tails[stream_id], bytes([size % 256]) * size)
        tails[stream_id] += size
        if removed:
            cache.forget(stream_id)

        held = [cache.chunks_from(of, max(0, tails[of] - 1)) or [] for of in tails]
        assert sum(len(data) for chunks in held for _, data in chunks) <= max(5_000, size)
        for of, chunks in zip(tails, held, strict=True):
            assert not chunks or chunks[-1][0] + len(chunks[-1][1]) == tails[of]
