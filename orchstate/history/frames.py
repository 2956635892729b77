"""Frames: the history and the present as DataFrames with fixed columns and real dtypes."""

from __future__ import annotations

import contextlib
import itertools
import json
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from orchstate.errors import NotFoundError
from orchstate.models.document import ENVELOPE
from orchstate.models.secret import is_reference, masked
from orchstate.models.settings import SettingsDocument
from orchstate.models.values import is_same, to_plain
from orchstate.storage.engine import CHANGE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from orchstate.models.conflict import ConflictDocument
    from orchstate.models.document import Document
    from orchstate.state.record import Record
    from orchstate.storage.engine import Change, Revision, Row
    from orchstate.storage.horizon import Compaction

CHANGES: Final = {
    "at": "datetime64[us, UTC]",
    "txn": "string",
    "label": "string",
    "kind": "category",
    "id": "string",
    "name": "string",
    "op": "category",
    "field": "string",
    "old": "object",
    "new": "object",
    "actor": "category",
    "notebook": "category",
    "cell": "string",
}
DIFF: Final = {
    "kind": "category",
    "id": "string",
    "name": "string",
    "field": "string",
    "old": "object",
    "new": "object",
}
CONFLICTS: Final = {
    "conflict": "string",
    "kind": "category",
    "name": "string",
    "cause": "category",
    "field": "string",
    "base": "object",
    "theirs": "object",
    "ours": "object",
    "by": "string",
    "at": "datetime64[us, UTC]",
}
COMPACTIONS: Final = {
    "at": "datetime64[us, UTC]",
    "actor": "category",
    "notebook": "category",
    "cell": "string",
    "kept_from": "int64",
    "revisions": "int64",
    "snapshots": "object",
    "stamps": "object",
}
_REVISION: Final = {"seq": "int64", "at": "datetime64[us, UTC]", "op": "category", "actor": "category"}
VALUES: Final = {
    "kind": "category",
    "id": "string",
    "name": "string",
    "revision": "int64",
    "updated_at": "datetime64[us, UTC]",
    "field": "string",
    "value": "object",
}
_CONFIGS: Final = {
    "provider": "category",
    "model": "string",
    "ready": "bool",
    "tags": "object",
    "revision": "int64",
    "created_at": "datetime64[us, UTC]",
    "updated_at": "datetime64[us, UTC]",
}


def changes_frame(bundles: Iterable[Sequence[Change]], *, field: str | None = None) -> pd.DataFrame:
    """Return one row per changed field, indexed by ``seq``, with the columns of ``CHANGES``.

    Parameters
    ----------
    bundles
        Changes in order, some at a time: among all of a long history Python would look for garbage
        again and again, which takes as long as everything here.
    field
        The field whose changes are wanted, None for all.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("seq", *CHANGES)}
    for bundle in filter(None, bundles):
        for name, values in _columns(bundle, field).items():
            columns[name] += values
    seqs = columns.pop("seq")
    return _frame(columns, CHANGES, pd.Index(seqs, dtype="int64", name="seq"))


def _columns(changes: Sequence[Change], field: str | None) -> dict[str, Iterable[Any]]:
    """Return the values of the columns, one for each changed field."""
    common = dict(zip(CHANGE_COLUMNS, zip(*changes, strict=True), strict=True))
    common["at"], common["op"] = common.pop("at_us"), common.pop("verb")
    diffs = [_of_field(diff, field) for diff in _parsed(common.pop("diff"))]
    pairs = [pair for diff in diffs for pair in diff.values()]
    counts = [*map(len, diffs)]
    return {
        **{name: _repeated(values, counts) for name, values in common.items()},
        "field": itertools.chain.from_iterable(diffs),
        "old": [shown(old) if isinstance(old, dict) else old for old, _ in pairs],
        "new": [shown(new) if isinstance(new, dict) else new for _, new in pairs],
    }


def _of_field(diff: dict[str, Any], field: str | None) -> dict[str, Any]:
    if field is None:
        return diff
    return {field: diff[field]} if field in diff else {}


def _repeated(values: Iterable[Any], counts: Sequence[int]) -> Iterable[Any]:
    return itertools.chain.from_iterable(map(itertools.repeat, values, counts))


def _parsed(texts: Iterable[str]) -> list[Any]:
    """Return the values of JSON texts; of all of them at once, which takes a fraction of the time."""
    found: list[Any] = json.loads(f"[{','.join(texts)}]")
    return found


def revisions_frame(revisions: Sequence[Revision]) -> pd.DataFrame:
    """Return one row per revision of a document, indexed by ``revision``.

    The columns are ``seq``, ``at``, ``op``, ``actor``, and one per field that some revision has set; a
    field that is called as one of those four has the column ``field.seq`` and the like.
    """
    bodies = _parsed(revision.row.body for revision in revisions)
    columns: dict[str, list[Any]] = {
        "seq": [revision.row.seq for revision in revisions],
        "at": [revision.at_us for revision in revisions],
        "op": [revision.verb for revision in revisions],
        "actor": [revision.origin.actor for revision in revisions],
    }
    fields = {path: _free(path, _REVISION) for body in bodies for path in body}
    columns |= {column: [shown(body.get(path)) for body in bodies] for path, column in fields.items()}
    dtypes = _REVISION | dict.fromkeys(fields.values(), "object")
    index = pd.Index([revision.row.revision for revision in revisions], dtype="int64", name="revision")
    return _frame(columns, dtypes, index)


def diff_frame(
    before: Mapping[str, Row], after: Mapping[str, Row], values: Callable[[Row], Mapping[str, Any]]
) -> pd.DataFrame:
    """Return one row per field that differs between two moments, with the columns of ``DIFF``.

    Parameters
    ----------
    before, after
        The rows of the two moments by id.
    values
        Returns the plain values of a row by path, defaults included.
    """
    columns: dict[str, list[Any]] = {name: [] for name in DIFF}
    for id in dict.fromkeys([*before, *after]):
        old, new = before.get(id), after.get(id)
        known = new or old
        if known is None or (old and new and old.body == new.body):
            continue
        # Of a document that is new or gone, only what it has set is a difference.
        read = values if old and new else _body
        old_values, new_values = ({} if row is None else read(row) for row in (old, new))
        for path in dict.fromkeys([*old_values, *new_values]):
            was, now = old_values.get(path), new_values.get(path)
            if not is_same(was, now):
                row = [known.kind, id, known.name, path, shown(was), shown(now)]
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    return _frame(columns, DIFF, None)


def compactions_frame(done: Sequence[Compaction]) -> pd.DataFrame:
    """Return one row per compaction, with the columns of ``COMPACTIONS``."""
    columns: dict[str, list[Any]] = {
        "at": [each.at_us for each in done],
        "actor": [each.origin.actor for each in done],
        "notebook": [each.origin.notebook for each in done],
        "cell": [each.origin.cell for each in done],
        "kept_from": [each.horizon for each in done],
        "revisions": [each.removed for each in done],
        "snapshots": [each.lost["snapshots"] for each in done],
        "stamps": [each.lost["stamps"] for each in done],
    }
    return _frame(columns, COMPACTIONS, None)


def values_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Return one row per field that some document had set, with the columns of ``VALUES``."""
    columns: dict[str, list[Any]] = {name: [] for name in VALUES}
    for row in rows:
        for path, value in json.loads(row.body).items():
            values = [row.kind, row.id, row.name, row.revision, row.updated_us, path, shown(value)]
            for column, one in zip(columns.values(), values, strict=True):
                column.append(one)
    return _frame(columns, VALUES, None)


def past_frame(kind: str, rows: Sequence[Row], documents: Sequence[Document]) -> pd.DataFrame:
    """Return one row per document of a past moment, indexed by ``name``; see ``PastCollection.to_frame``."""
    dtypes = {name: dtype for name, dtype in _CONFIGS.items() if name != "ready"}
    if kind != "config":
        del dtypes["provider"], dtypes["model"]
    columns: dict[str, list[Any]] = {
        "provider": [getattr(document, "provider", "") for document in documents],
        "model": [getattr(document, "model", None) for document in documents],
        "tags": [list(document.tags) for document in documents],
        "revision": [row.revision for row in rows],
        "created_at": [row.created_us for row in rows],
        "updated_at": [row.updated_us for row in rows],
    }
    return _with_fields(columns, dtypes, documents)


def configs_frame(configs: Sequence[Record]) -> pd.DataFrame:
    """Return one row per config, indexed by ``name``; see ``store.configs.to_frame``.

    One that another process deletes meanwhile is left out.
    """
    present = {}
    for config in configs:
        with contextlib.suppress(NotFoundError):
            present[config] = config.document()
    documents = list(present.values())
    columns: dict[str, list[Any]] = {
        "provider": [getattr(document, "provider", "") for document in documents],
        "model": [getattr(document, "model", None) for document in documents],
        "ready": [config.validation.ready for config in present],
        "tags": [list(document.tags) for document in documents],
        "revision": [config.revision for config in present],
        "created_at": [_utc(document.created_at) for document in documents],
        "updated_at": [_utc(document.updated_at) for document in documents],
    }
    return _with_fields(columns, _CONFIGS, documents)


def _with_fields(
    columns: dict[str, list[Any]], dtypes: Mapping[str, str], documents: Sequence[Document]
) -> pd.DataFrame:
    """Return a frame with one column more per field that some document has set, indexed by ``name``."""
    known = {"tags", "name", "stash", *ENVELOPE} | ({"provider", "model"} & dtypes.keys())
    bodies = [document.body() for document in documents]
    further = {
        path: _free(path, dtypes)
        for body in bodies
        for path, value in body.items()
        if path not in known and not is_reference(value)
    }
    columns |= {column: [body.get(path) for body in bodies] for path, column in further.items()}
    index = pd.Index([document.name for document in documents], dtype="string", name="name")
    return _frame(columns, {**dtypes, **dict.fromkeys(further.values(), "object")}, index)


def conflicts_frame(conflicts: Iterable[ConflictDocument]) -> pd.DataFrame:
    """Return one row per field in question, with the columns of ``CONFLICTS``.

    An edit of which no field is in question, such as a deletion, has one row without a field.
    """
    columns: dict[str, list[Any]] = {name: [] for name in CONFLICTS}
    for conflict in conflicts:
        for part in (*_in_question(conflict), *_together_with(conflict)):
            row = (conflict.name, *part, conflict.user_id, _utc(conflict.created_at))
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
    return _frame(columns, CONFLICTS, None)


def _in_question(conflict: ConflictDocument) -> Iterator[tuple[Any, ...]]:
    about = (conflict.target_kind, conflict.target_name, conflict.cause)
    for path in conflict.fields:
        sides = (conflict.base, conflict.theirs, conflict.ours)
        yield (*about, path, *(shown(to_plain(side.get(path))) for side in sides))
    if not conflict.fields:
        yield (*about, None, None, None, None)


def _together_with(conflict: ConflictDocument) -> Iterator[tuple[Any, ...]]:
    """Return what else its transaction wanted."""
    for edit in conflict.edits:
        if edit.get("id") != conflict.target:
            values = to_plain(edit.get("set", {})) or {None: None}
            if edit.get("kind") == SettingsDocument.kind:
                values.pop("name", None)
            for path, value in values.items():
                yield (edit.get("kind"), edit.get("name"), "together", path, None, None, shown(value))


def _free(path: str, taken: Container[str]) -> str:
    # Definitions avoid such names; other kinds of documents, and definitions of other versions, need not.
    return f"field.{path}" if path in taken else path


def shown(value: Any) -> Any:
    """Return a plain value as the history shows it: references to secrets are masked.

    Examples
    --------
    >>> shown({"source": "keyring", "name": "a/api_key/1"})
    'keyring: ********'
    """
    if isinstance(value, dict) and not is_reference(value):
        return {key: shown(item) for key, item in value.items()}
    if not is_reference(value):
        return value
    return masked(value["source"], value["name"])


def _body(row: Row) -> Mapping[str, Any]:
    body: dict[str, Any] = json.loads(row.body)
    return body


def _utc(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


def _frame(
    columns: Mapping[str, Sequence[Any]], dtypes: Mapping[str, str], index: pd.Index[Any] | None
) -> pd.DataFrame:
    series = {name: _series(columns[name], dtype) for name, dtype in dtypes.items()}
    frame = pd.DataFrame(series)
    if index is not None:
        frame.index = index
    return frame


def _series(values: Sequence[Any], dtype: str) -> pd.Series[Any]:
    if dtype.startswith("datetime64"):
        return pd.Series(pd.DatetimeIndex(np.array(values, dtype="datetime64[us]"), tz="UTC"))
    return pd.Series(values, dtype=dtype)
