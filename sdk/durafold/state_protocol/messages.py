"""The two kinds of messages of the State Protocol. Field names are those on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = [
    "Change",
    "ChangeHeaders",
    "Control",
    "ControlHeaders",
    "InvalidChange",
    "Operation",
    "parse_message",
]

Operation = Literal["insert", "update", "delete", "upsert"]
"""What happened to a row. `upsert` is not in the written protocol, but the official packages write it."""

_Name = Annotated[str, Field(min_length=1)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ChangeHeaders(_Message):
    """What a change is.

    Attributes:
        operation: what happened to the row.
        txid: transaction that it belongs to, as its writer named it.
        timestamp: when, RFC 3339.
        from_: who wrote it; `from` on the wire.
        offset: the offset that its writer gave it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    operation: Operation
    txid: str | None = None
    timestamp: str | None = None
    from_: str | None = Field(default=None, alias="from")
    offset: str | None = None


class Change(_Message):
    """A row was inserted, updated, deleted, or one of the first two.

    Attributes:
        type: which collection the row belongs to.
        key: the row's key in it.
        value: the whole row; absent for a delete.
        old_value: the row before, if its writer says so.
        headers: what happened.
    """

    type: _Name
    key: _Name
    value: Any = None
    old_value: Any = None
    headers: ChangeHeaders

    @model_validator(mode="after")
    def _has_a_value(self) -> Self:
        if self.headers.operation != "delete" and "value" not in self.model_fields_set:
            raise ValueError(f"a change that is an {self.headers.operation} must have a value")
        return self

    def to_message(self) -> dict[str, Any]:
        """The JSON object to append."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class ControlHeaders(_Message):
    """What is said about the stream.

    Attributes:
        control: `reset`: everything before is void. `snapshot-start` and `snapshot-end` enclose changes that
            together are a snapshot; they are hints.
        offset: the offset that its writer gave it.
    """

    control: Literal["snapshot-start", "snapshot-end", "reset"]
    offset: str | None = None


class Control(_Message):
    """Something about the stream, not about a row."""

    headers: ControlHeaders

    def to_message(self) -> dict[str, Any]:
        """The JSON object to append."""
        return self.model_dump(mode="json", exclude_unset=True)


@dataclass(frozen=True, slots=True)
class InvalidChange:
    """A message that says it is a change or a control, and is not.

    Attributes:
        message: as it came.
        reason: what is wrong with it.
    """

    message: Any
    reason: str


def parse_message(message: Any) -> Change | Control | InvalidChange | None:
    """What a message of a stream is; None if it is none of this protocol.

    Never raises: what a stranger appended is data.
    """
    headers = message.get("headers") if isinstance(message, dict) else None
    if not isinstance(headers, dict):
        return None
    kind = Change if "operation" in headers else Control if "control" in headers else None
    if kind is None:
        return None
    try:
        return kind.model_validate(message)
    except ValidationError as exc:
        return InvalidChange(message, str(exc))
