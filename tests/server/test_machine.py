"""Every store beside a plain model: whatever is asked of them in whatever order, both answer alike.

The model is a dictionary of lists. It knows PROTOCOL's rules from the text, not from the server's code.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from durafold_server.config import ServiceSettings
from durafold_server.protocol import errors, responses
from durafold_server.protocol.errors import ProtocolError
from durafold_server.protocol.json_mode import page_body
from durafold_server.protocol.requests import ListRequest
from durafold_server.service import StreamService
from support.registry import registered
from support.server_requests import append_request, create_request, next_offset, read_request
from support.server_stores import ManualClock, open_store

R = TypeVar("R")

JSON: Final = "application/json"
TEXT: Final = "text/plain"

PATHS: Final = st.sampled_from(["a", "b%2Fc"])
FORKS: Final = st.sampled_from(["f", "g", "h"])
TYPES: Final = st.sampled_from([JSON, TEXT, "application/octet-stream"])
PARTS: Final = st.lists(st.sampled_from(["x", "yy", "é", "[1,2]", '"', "z" * 30]), min_size=1, max_size=3)
SEQS: Final = st.none() | st.sampled_from(["1", "10", "2", "a"])
LIMITS: Final = st.sampled_from([None, None, 0, 1, 12, 40])
"""Stream-Retention-Bytes."""
RARELY: Final = st.sampled_from([False, False, False, True])
STEPS: Final = st.sampled_from(
    [(0, 1), (0, 1), (0, 1), (0, 0), (0, -1), (0, 2), (1, None), (2, None), (1, 1), (-1, None), (-1, 7)]
)
"""From a producer's last (epoch, seq) to those of its next request; None stands for seq 0."""
CLAIMS: Final = st.none() | st.tuples(st.sampled_from("ppq"), STEPS)

Claim = tuple[str, int, int]
Content = tuple[Any, ...]
"""JSON messages, or single bytes."""


@dataclass
class Model:
    """One stream as the protocol's text has it."""

    path: str
    content_type: str
    content: Content
    closed: bool
    fork_of: Model | None = None
    forked_at: Known | None = None
    closed_by: Claim | None = None
    last_seq: str | None = None
    producers: dict[str, tuple[int, int]] = field(default_factory=dict)
    forks: int = 0
    deleted: bool = False
    appends: list[int] = field(default_factory=list)  # lengths of the content after each append
    limit: int | None = None  # Stream-Retention-Bytes
    start: int = 0  # how much of the content is no longer retained

    def owner(self, length: int) -> Model:
        """The stream that wrote what lies just before: up to the fork point, that is the source."""
        if self.fork_of is None or self.forked_at is None or length > self.forked_at.length:
            return self
        return self.fork_of.owner(length)

    def hands_out(self, at: Known) -> bool:
        """Whether an offset, wherever it comes from, is one of this stream's."""
        return at.length <= len(self.content) and self.owner(at.length) is at.owner

    def refusal(
        self, content_type: str, has_body: bool, close: bool, claim: Claim | None, seq: str | None
    ) -> type[ProtocolError] | None:
        """PROTOCOL §5.2, §5.2.1: the error of the first condition that an append runs into."""
        if self.deleted:
            return errors.Gone
        if self.closed:
            is_same = claim is not None and claim == self.closed_by
            return None if is_same or (close and not has_body and claim is None) else errors.StreamIsClosed
        if has_body and content_type != self.content_type:
            return errors.ContentTypeMismatch
        if claim is not None:
            known = self.producers.get(claim[0])
            if known is not None and claim[1] < known[0]:
                return errors.StaleEpoch
            if known is not None and claim[1] > known[0]:
                if claim[2] != 0:
                    return errors.InvalidRequest
            elif claim[2] > (known[1] + 1 if known else 0):
                return errors.ProducerGap
            elif known is not None and claim[2] <= known[1]:
                return None
        if seq is not None and self.last_seq is not None and seq.encode() <= self.last_seq.encode():
            return errors.StreamSeqRegressed
        return None

    def is_duplicate(self, claim: Claim | None) -> bool:
        """Whether an append that is not refused changes nothing."""
        if self.closed:
            return True
        known = self.producers.get(claim[0]) if claim is not None else None
        return known is not None and claim is not None and claim[1] == known[0] and claim[2] <= known[1]

    def append(self, parts: Content, close: bool, claim: Claim | None, seq: str | None) -> None:
        """Take an append that is neither refused nor a duplicate."""
        self.add(parts)
        self.last_seq = seq or self.last_seq
        if claim is not None:
            self.producers[claim[0]] = claim[1:]
        if close:
            self.closed, self.closed_by = True, claim

    def add(self, parts: Content) -> None:
        """Take content."""
        if parts:
            self.content += parts
            self.appends.append(len(self.content))

    def trim(self) -> None:
        """Drop as many of the oldest appends as the limit asks for, and no more."""
        if self.limit and not self.deleted:
            kept = [end for end in self.appends if self.size(self.content[end:]) >= self.limit]
            self.start = max([self.start, *kept])

    def size(self, content: Content) -> int:
        """Bytes that the server keeps for it."""
        return sum(len(json.dumps(m)) + 1 for m in content) if self.content_type == JSON else len(content)


@dataclass(frozen=True)
class Known:
    """An offset that the server handed out.

    Attributes:
        model: for which stream.
        token: as the client got it.
        length: how much of the stream lies before.
        owner: which stream wrote what lies just before.
    """

    model: Model
    token: str
    length: int
    owner: Model


def claim_after(model: Model | None, producer_id: str, step: tuple[int, int | None]) -> Claim:
    """A producer's next, repeated, skipping, newer or stale request."""
    epoch, last = model.producers.get(producer_id, (0, -1)) if model is not None else (0, -1)
    by_epoch, by_seq = step
    seq = 0 if by_seq is None else max(0, by_seq if by_epoch else last + by_seq)
    return producer_id, max(0, epoch + by_epoch), seq


def body_of(content_type: str, parts: Sequence[str]) -> tuple[bytes, Content]:
    """A request body, and what it adds to a stream of that type."""
    if content_type == JSON:
        return json.dumps(parts).encode(), tuple(parts)
    data = "".join(parts).encode()
    return data, tuple(data)


def decoded(content_type: str, data: bytes) -> Content:
    return tuple(json.loads(page_body(data))) if content_type == JSON else tuple(data)


class StoreMachine(RuleBasedStateMachine):
    """Requests in any order, to a service and to the model."""

    kind: ClassVar[str]
    offsets: Bundle[Known] = Bundle("offsets")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.models: dict[str, Model] = {}
        self.service = self.run(self.open())

    async def open(self, *, registry: bool = True) -> StreamService:
        store = await open_store(self.kind, self.directory / "data", self.clock)
        settings = ServiceSettings(max_page_bytes=40, registry=registry)
        service = StreamService(store, settings, clock=self.clock)
        await service.start()
        return service

    def run(self, work: Awaitable[R]) -> R:
        async def finish() -> R:
            return await work

        return self.runner.run(finish())

    def outcome(self, work: Awaitable[R]) -> R | type[ProtocolError]:
        """What came of it, or the class of the refusal."""
        try:
            return self.run(work)
        except ProtocolError as refusal:
            return type(refusal)

    def teardown(self) -> None:
        self.run(self.service.aclose())
        self.runner.close()
        shutil.rmtree(self.directory)

    # Rules

    @rule(
        target=offsets,
        path=PATHS,
        content_type=TYPES,
        parts=st.just([]) | PARTS,
        closed=RARELY,
        limit=LIMITS,
        tick_us=st.integers(0, 3),
    )
    def create(
        self,
        path: str,
        content_type: str,
        parts: list[str],
        closed: bool,
        limit: int | None,
        tick_us: int,
    ) -> Any:
        self.clock.now_us += tick_us
        body, content = body_of(content_type, parts)
        headers = {"content_type": content_type, "stream_closed": str(closed).lower()}
        if limit is not None:
            headers["stream_retention_bytes"] = str(limit)
        expected, existing = None, self.models.get(path)
        if existing is not None and (
            existing.deleted
            or existing.fork_of is not None
            or (existing.content_type, existing.closed, existing.limit) != (content_type, closed, limit)
        ):
            expected = errors.StreamExists

        outcome = self.outcome(self.service.create(create_request(path, body, **headers)))

        if expected is not None:
            assert outcome is expected
            return multiple()
        assert not isinstance(outcome, type)
        assert outcome.new is (existing is None)
        if existing is None:
            existing = self.models[path] = Model(path, content_type, (), closed, limit=limit)
            existing.add(content)
        return self.known(existing, responses.created(outcome, path))

    @rule(target=offsets, path=FORKS, at=offsets, parts=st.just([]) | PARTS)
    def fork(self, path: str, at: Known, parts: list[str]) -> Any:
        source, existing = self.models.get(at.model.path), self.models.get(path)
        content_type = source.content_type if source is not None else TEXT
        body, content = body_of(content_type, parts)
        headers = {"stream_forked_from": f"/v1/stream/{at.model.path}", "stream_fork_offset": at.token}

        outcome = self.outcome(self.service.create(create_request(path, body, **headers)))

        if existing is not None:
            is_same = existing.fork_of is not None and existing.fork_of.path == at.model.path
            is_same = is_same and existing.forked_at is not None and existing.forked_at.token == at.token
            if is_same and not existing.closed and not existing.deleted:
                assert not isinstance(outcome, type)
                assert not outcome.new
            else:
                assert outcome is errors.StreamExists
        elif source is None:
            assert outcome is errors.NotFound
        elif source.deleted:
            assert outcome is errors.Conflict
        elif not source.hands_out(at) or at.length < source.start:
            assert outcome is errors.InvalidRequest
        else:
            assert not isinstance(outcome, type)
            source.forks += 1
            made = Model(path, content_type, source.content[: at.length], False, source, at)
            made.appends = [min(end, at.length) for end in source.appends]
            made.limit, made.start = source.limit, source.start
            made.add(content)
            self.models[path] = made
            return self.known(made, responses.created(outcome, path))
        return multiple()

    @rule(
        target=offsets,
        at=offsets,
        other_type=RARELY.flatmap(lambda other: TYPES if other else st.none()),
        parts=PARTS,
        close=RARELY,
        only_close=RARELY,
        producer=CLAIMS,
        seq=SEQS,
    )
    def append(
        self,
        at: Known,
        other_type: str | None,
        parts: list[str],
        close: bool,
        only_close: bool,
        producer: tuple[str, tuple[int, int | None]] | None,
        seq: str | None,
    ) -> Any:
        model = self.models.get(at.model.path)
        has_body = not (close and only_close)
        content_type = other_type or at.model.content_type
        claim = claim_after(model, *producer) if producer is not None else None
        body, content = body_of(content_type, parts) if has_body else (b"", ())
        headers = {"content_type": content_type, "stream_closed": str(close).lower()}
        if claim is not None:
            headers |= {
                "producer_id": claim[0],
                "producer_epoch": str(claim[1]),
                "producer_seq": str(claim[2]),
            }
        if seq is not None:
            headers["stream_seq"] = seq
        expected = model.refusal(content_type, has_body, close, claim, seq) if model else errors.NotFound
        was_duplicate = model is not None and model.is_duplicate(claim)

        outcome = self.outcome(self.service.append(append_request(at.model.path, body, **headers)))

        if expected is not None or model is None:
            assert outcome is expected
            return multiple()
        assert not isinstance(outcome, type)
        assert outcome.changed is not was_duplicate
        if not was_duplicate:
            model.append(content, close, claim, seq)
        assert outcome.stream.closed is model.closed
        if claim is not None:
            assert outcome.accepted_seq == model.producers[claim[0]][1]
        return self.known(model, responses.appended(outcome))

    @rule(at=offsets, now=RARELY)
    def delete(self, at: Known, now: bool) -> None:
        """Not at every opportunity, so that streams grow."""
        if not now:
            return
        model = self.models.get(at.model.path)

        outcome = self.outcome(self.service.delete(at.model.path))

        if model is None:
            assert outcome is errors.NotFound
        elif model.deleted:
            assert outcome is errors.Gone
        elif model.forks:
            model.deleted = True
        else:
            self.remove(model)

    @rule(target=offsets, at=offsets)
    def read_on(self, at: Known) -> Any:
        return self.read(at.model.path, at)

    @rule(target=offsets, at=offsets, path=PATHS | FORKS)
    def read_elsewhere(self, at: Known, path: str) -> Any:
        return self.read(path, at)

    def read(self, path: str, at: Known) -> Any:
        model = self.models.get(path)

        outcome = self.outcome(self.service.read(read_request(path, at.token)))

        if model is None:
            assert outcome is errors.NotFound
        elif model.deleted or not model.hands_out(at):
            assert outcome is errors.Gone
        elif at.length < model.start:
            assert outcome is errors.NotRetained
        else:
            assert not isinstance(outcome, type)
            content = decoded(model.content_type, outcome.data)
            assert content == model.content[at.length : at.length + len(content)]
            assert content or at.length == len(model.content)
            assert outcome.at_tail is (at.length + len(content) == len(model.content))
            assert outcome.closed is (outcome.at_tail and model.closed)
            return self.known(model, responses.page(outcome), at.length + len(content))
        return multiple()

    @rule()
    def reap(self) -> None:
        for model in self.models.values():
            model.trim()

        self.run(self.service.reap())

    @rule(at=consumes(offsets))
    def forget(self, at: Known) -> None:
        """Keep the choice of offsets fresh."""

    # Invariants

    @invariant()
    def content_tail_and_closure_agree(self) -> None:
        for path, model in self.models.items():
            if model.deleted:
                assert self.outcome(self.service.head(path)) is errors.Gone
                continue
            content, offsets, closed = self.run(self.read_all(path, model.content_type))
            assert content == model.content[model.start :]
            assert closed is model.closed
            assert offsets == sorted(set(offsets))
            head = self.run(self.service.head(path))
            assert next_offset(responses.described(head)) == offsets[-1]
            assert head.closed is model.closed

    @invariant()
    def all_streams_are_listed(self) -> None:
        stored = self.run(self.service.store.list_streams("", None, 1000))
        assert [stream.path for stream in stored if not stream.internal] == sorted(self.models)
        listing = self.run(self.service.list_streams(ListRequest("", None, 1000)))
        living = {path: model.closed for path, model in sorted(self.models.items()) if not model.deleted}
        assert [(stream.path, stream.closed) for stream, _ in listing.streams] == list(living.items())

    @invariant()
    def the_registry_folds_to_the_living_streams(self) -> None:
        living = {path: model.closed for path, model in self.models.items() if not model.deleted}
        assert self.run(registered(self.service)) == (living if self.service.settings.registry else {})

    async def read_all(self, path: str, content_type: str) -> tuple[Content, list[str], bool]:
        """The whole content, the offsets after each page, and whether it ended."""
        content: Content = ()
        offsets = ["-1"]
        while True:
            view = await self.service.read(read_request(path, offsets[-1]))
            content += decoded(content_type, view.data)
            offsets.append(next_offset(responses.page(view)))
            if view.at_tail:
                return content, offsets[1:], view.closed

    def known(self, model: Model, reply: responses.Reply, length: int | None = None) -> Known:
        length = len(model.content) if length is None else length
        return Known(model, next_offset(reply), length, model.owner(length))

    def remove(self, model: Model) -> None:
        """Free the path, and those of soft-deleted sources that nobody needs any more."""
        del self.models[model.path]
        source = model.fork_of
        if source is not None:
            source.forks -= 1
            if source.deleted and not source.forks:
                self.remove(source)


class MemoryMachine(StoreMachine):
    kind = "memory"


class SqliteMachine(StoreMachine):
    kind = "sqlite"

    @rule(back_us=st.sampled_from([0, 1, 10**9]), without_registry=RARELY)
    def reopen(self, back_us: int, without_registry: bool) -> None:
        """Close and open again, with a clock that may have gone back."""
        self.run(self.service.aclose())
        self.clock.now_us -= back_us
        self.service = self.run(self.open(registry=not without_registry))


@pytest.mark.parametrize(("machine", "examples"), [(MemoryMachine, 120), (SqliteMachine, 40)])
def test_a_store_and_its_model_agree(machine: type[StoreMachine], examples: int) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=40))
