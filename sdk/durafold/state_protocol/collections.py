"""Collections: rows of one type as pydantic models. What they hold, and the changes to write. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from durafold.errors import ConfigurationError
from durafold.state_protocol.messages import Change, ChangeHeaders, InvalidChange, Operation

__all__ = ["Collection", "RowChange", "Table"]

M = TypeVar("M", bound=BaseModel)


class Collection(Generic[M]):
    """A declaration: which rows belong together, and how they look.

    Args:
        type_: the `type` of their changes.
        model: a pydantic model of a row.
        primary_key: the field that holds the key. Its value is a string, or its JSON form is one.

    Raises:
        ConfigurationError: the type is empty, or the model has no such field.
    """

    def __init__(self, type_: str, model: type[M], *, primary_key: str) -> None:
        if not type_:
            raise ConfigurationError("A collection needs a type that is not empty")
        if primary_key not in model.model_fields:
            raise ConfigurationError(
                f"{model.__name__} has no field {primary_key!r} to be the primary key",
                hint=f"It has {', '.join(model.model_fields)}",
            )
        self.type = type_
        self.model = model
        self.primary_key = primary_key

    def __repr__(self) -> str:
        return f"Collection({self.type!r}, {self.model.__name__}, primary_key={self.primary_key!r})"

    def insert(self, row: M, *, txid: str | None = None) -> Change:
        """The change that adds a row.

        Args:
            row: the row.
            txid: name of the transaction, to wait for with `StreamDB.await_txid`.

        Raises:
            ConfigurationError: the row's key is empty.
        """
        return self._change("insert", row, txid)

    def update(self, row: M, *, txid: str | None = None, old: M | None = None) -> Change:
        """The change that replaces a row; the arguments are those of `insert`, and:

        Args:
            row: the whole row.
            txid: as for `insert`.
            old: the row before, for readers who want to know.

        Raises:
            ConfigurationError: the row's key is empty.
        """
        change = self._change("update", row, txid)
        if old is None:
            return change
        return Change(
            type=change.type,
            key=change.key,
            value=change.value,
            old_value=old.model_dump(mode="json", by_alias=True),
            headers=change.headers,
        )

    def upsert(self, row: M, *, txid: str | None = None) -> Change:
        """The change that adds or replaces a row; the arguments and errors are those of `insert`."""
        return self._change("upsert", row, txid)

    def delete(self, key: str, *, txid: str | None = None) -> Change:
        """The change that removes the row with this key."""
        return Change(type=self.type, key=key, headers=_headers("delete", txid))

    def _change(self, operation: Operation, row: M, txid: str | None) -> Change:
        value = row.model_dump(mode="json", by_alias=True)
        key = str(getattr(row, self.primary_key))
        if not key:
            raise ConfigurationError(f"A row of {self.type!r} needs a {self.primary_key} that is not empty")
        return Change(type=self.type, key=key, value=value, headers=_headers(operation, txid))

    def row(self, change: Change) -> M:
        """The row that a change holds; the key fills the primary key in.

        Raises:
            ValueError: it is none of the model.
        """
        if not isinstance(change.value, Mapping):
            raise ValueError(f"a row must be an object, not {type(change.value).__name__}")  # noqa: TRY004
        field = self.model.model_fields[self.primary_key]
        return self.model.model_validate({**change.value, field.alias or self.primary_key: change.key})


def _headers(operation: Operation, txid: str | None) -> ChangeHeaders:
    return (
        ChangeHeaders(operation=operation) if txid is None else ChangeHeaders(operation=operation, txid=txid)
    )


@dataclass(frozen=True, slots=True)
class RowChange(Generic[M]):
    """What happened to one row by one commit.

    Attributes:
        operation: `insert` if there was no such row before, `update` or `delete` if there was.
        key: the row's.
        row: as it is now; None when it is gone.
        old: as it was; None when there was none.
    """

    operation: Literal["insert", "update", "delete"]
    key: str
    row: M | None
    old: M | None


class Table(Generic[M]):
    """The rows of one collection as of the last commit: a mapping from keys to rows, with subscribers.

    Rows that do not match the model are left out, and are listed in `faults` until their key changes again.
    """

    def __init__(self, collection: Collection[M]) -> None:
        self._collection = collection
        self._rows: dict[str, M] = {}
        self._staged: dict[str, M | None] = {}
        self._is_truncated = False
        self._subscribers: list[Callable[[Sequence[RowChange[M]]], None]] = []
        self.faults: dict[str, InvalidChange] = {}

    # ---- reading ----

    def get(self, key: str) -> M | None:
        """The row with this key, if there is one."""
        return self._rows.get(key)

    def __getitem__(self, key: str) -> M:
        return self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[M]:
        """All rows, in the order in which their keys came first."""
        return list(self._rows.values())

    def subscribe(self, callback: Callable[[Sequence[RowChange[M]]], None]) -> Callable[[], None]:
        """Have a function called with what each commit changed.

        Args:
            callback: must not block. What it raises is logged, and hurts no other.

        Returns:
            A function that ends the subscription.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    # ---- changing, by StreamDB ----

    def stage(self, change: Change) -> None:
        """Take a change in, which shows with the next commit."""
        self.faults.pop(change.key, None)
        if change.headers.operation == "delete":
            self._staged[change.key] = None
            return
        try:
            self._staged[change.key] = self._collection.row(change)
        except (ValidationError, ValueError) as exc:
            self.faults[change.key] = InvalidChange(change.to_message(), str(exc))
            self._staged[change.key] = None

    def truncate(self) -> None:
        """Remove all rows and forget what is staged; shows with the next commit."""
        self._staged.clear()
        self._is_truncated = True

    def commit(self) -> Sequence[Callable[[], None]]:
        """Make what is staged visible.

        Returns:
            Calls that tell the subscribers, to be made when all tables have committed.
        """
        before = self._rows
        if self._is_truncated or self._staged:
            self._rows = {} if self._is_truncated else dict(before)
        for key, row in self._staged.items():
            if row is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = row
        touched = list(dict.fromkeys([*(before if self._is_truncated else ()), *self._staged]))
        self._staged, self._is_truncated = {}, False
        changes = [change for key in touched if (change := _difference(key, before, self._rows)) is not None]
        return [partial(callback, changes) for callback in self._subscribers] if changes else []


def _difference(key: str, before: Mapping[str, M], after: Mapping[str, M]) -> RowChange[M] | None:
    old, row = before.get(key), after.get(key)
    if old == row:
        return None
    if old is None:
        return RowChange("insert", key, row, None)
    return RowChange("delete" if row is None else "update", key, row, old)
