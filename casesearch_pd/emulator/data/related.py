"""Related items of generated cases (contacts, comments, files, SLAs) and the history of a case.

They are not stored but derived from the case's row, so a case always has the same items and events.
Cases of a DataFrame have no related items, and a history that follows from their times.
"""

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from casesearch_pd.emulator.data.schema import Column, Schema
from casesearch_pd.emulator.data.store import EVERYTHING, ROWID, Row, SqlValue, Store, Where

INSTANCE = "arn:aws:connect:us-east-1:111122223333:instance/8a1f6c1e-0000-4000-8000-2f6b1c9d0e11"
PRINCIPAL = "arn:aws:iam::111122223333:role/casework"
SLA_NAME = "Time to close"
# The schema of related items, whose store gives them filters, orders and pages as for cases.
ITEMS = Schema(
    tuple(
        Column(name, kind)
        for name, kind in {
            "item_id": "text",
            "case_id": "text",
            "type": "text",
            "at": "datetime",
            "content": "json",
            "author": "user",
            "channel": "text",
            "contact_arn": "text",
            "file_arn": "text",
            "sla_name": "text",
            "sla_status": "text",
        }.items()
    ),
    (),
)

_CHANNELS = {"ch_01": "VOICE", "ch_02": "EMAIL", "ch_03": "CHAT", "ch_04": "TASK", "ch_05": "CHAT"}
_COMMENTS = (
    "Customer called back and is fine with the offer.",
    "Escalated to second line, see the log.",
    "お客様へ折り返し連絡済み。",
)
_COLUMNS = (
    ROWID, "case_id", "created_at", "updated_at", "contacts", "contact_channel", "case_comments",
    "attachments", "sla_at", "created_by",
)  # fmt: skip
_MAX_CONTACTS = 12
# Every tenth case shares its first contact with the case before it.
_SHARING_INTERVAL = 10


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a case's history: (field, old value, new value) for each changed field."""

    number: int
    type: str
    at: str
    changes: tuple[tuple[Column, SqlValue, SqlValue], ...]
    author: str | None
    item_type: str | None = None


def items_of(store: Store, where: Where, now: str) -> Iterator[Row]:
    """Yield the related items of matching cases as rows of `ITEMS`; late SLAs are overdue."""
    if not store.schema.generated:
        return
    for row in store.rows(_COLUMNS, where):
        case = dict(zip(_COLUMNS, row, strict=True))
        yield from _contacts(case)
        yield from _comments(case)
        yield from _files(case)
        yield from _slas(case, now)


class RelatedItems:
    """The related items of all cases, generated at the first use and after changes of cases."""

    def __init__(self, live: Store) -> None:
        self._live = live
        self._items: Store | None = None
        self._version = -1
        self._lock = threading.Lock()

    def current(self, now: str) -> Store:
        """Return the items of all current cases."""
        with self._lock:
            # A change of any case may change its items; to generate all again is fast enough.
            if self._items is None or self._version != self._live.version:
                self._version = self._live.version
                self._drop()
                self._items = Store(ITEMS, identity="item_id")
                self._items.add(items_of(self._live, EVERYTHING, now))
            return self._items

    def close(self) -> None:
        """Delete the items."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._items is not None:
            self._items.close()
        self._items = None


def contact_arn(row: int, number: int) -> str:
    """Return the ARN of a case's contact."""
    owner = row - 1 if number == 0 and row % _SHARING_INTERVAL == 0 else row
    start = blake2b(b"%d %d" % (owner, number), digest_size=9).hexdigest()
    # Two cases that share a contact have the same owner, and so the same ARN for it.
    # The last group of the UUID encodes row and number, so `cases_of_contact` needs no index.
    last = f"{owner * _MAX_CONTACTS + number:012x}"
    return f"{INSTANCE}/contact/{start[:8]}-{start[8:12]}-4{start[12:15]}-8{start[15:18]}-{last}"


def cases_of_contact(store: Store, arn: str) -> list[Row]:
    """Return (case id, template id) of the cases that a contact belongs to."""
    try:
        owner = int(arn.rpartition("-")[2], 16) // _MAX_CONTACTS
    except ValueError:
        return []
    rows = store.rows(
        (ROWID, "case_id", "template_id", "contacts"),
        Where("rowid IN (?, ?)", (owner % 2**62, (owner + 1) % 2**62)),
    )
    return [row[1:3] for row in rows if arn in _arns(row[0], row[3])]


def _arns(row: Any, contacts: Any) -> list[str]:
    return [contact_arn(row, number) for number in range(min(contacts or 0, _MAX_CONTACTS))]


def _contacts(case: Mapping[str, Any]) -> Iterator[Row]:
    channel = _CHANNELS.get(case["contact_channel"] or "", "VOICE")
    arns = _arns(case[ROWID], case["contacts"])
    for number, arn in enumerate(arns):
        at = _between(case, number, len(arns))
        content = {"contactArn": arn, "channel": channel, "connectedToSystemTime": at + "Z"}
        yield _item(
            case, "Contact", number, at, {"contact": content}, channel=channel, contact_arn=arn
        )


def _comments(case: Mapping[str, Any]) -> Iterator[Row]:
    for number, _ in enumerate(_decode_list(case["case_comments"])):
        body = _COMMENTS[case[ROWID] % len(_COMMENTS)]
        content = {"comment": {"body": body, "contentType": "Text/Plain"}}
        yield _item(case, "Comment", number, case["updated_at"], content)


def _files(case: Mapping[str, Any]) -> Iterator[Row]:
    for number, _ in enumerate(_decode_list(case["attachments"])):
        arn = f"{INSTANCE}/file/{_uuid(case, 'file', number)}"
        content = {"file": {"fileArn": arn}}
        yield _item(case, "File", number, case["updated_at"], content, file_arn=arn)


# The SLA that generated cases have: a time at which the status must be closed.
def _slas(case: Mapping[str, Any], now: str) -> Iterator[Row]:
    due = case["sla_at"]
    if due is None:
        return
    status = "Overdue" if due < now else "Active"
    configuration = {
        "name": SLA_NAME,
        "type": "CaseField",
        "status": status,
        "fieldId": "status",
        "targetFieldValues": [{"stringValue": "closed"}],
        "targetTime": due + "Z",
    }
    content = {"sla": {"slaConfiguration": configuration}}
    at = case["created_at"]
    yield _item(case, "Sla", 0, at, content, sla_name=SLA_NAME, sla_status=status)


def _item(
    case: Mapping[str, Any], kind: str, number: int, at: str, content: Any, **more: str
) -> Row:
    row: dict[str, SqlValue] = {
        "item_id": _uuid(case, kind, number),
        "case_id": case["case_id"],
        "type": kind,
        "at": at,
        "content": msgspec.json.encode(content).decode(),
        "author": case["created_by"],
        **more,
    }
    return tuple(row.get(column.name) for column in ITEMS.columns)


def _uuid(case: Mapping[str, Any], *parts: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, repr((case["case_id"], *parts))))


def _decode_list(text: str | None) -> Sequence[Any]:
    return () if text is None else msgspec.json.decode(text, type=list[Any])


def _between(case: Mapping[str, Any], number: int, of: int) -> str:
    """Return a time between the creation and the last update of a case."""
    first, last = (datetime.fromisoformat(case[name]) for name in ("created_at", "updated_at"))
    # The first item is at the creation, the others follow at equal distances.
    at = first + (last - first) * number / max(of, 1)
    return at.isoformat(timespec="milliseconds")


def history(store: Store, case_id: str, now: str) -> list[Event] | None:
    """Return the events of a case, oldest first, or None where there is no such case."""
    where = store.is_case(case_id)
    names = [column.name for column in store.schema.columns]
    rows = store.rows(names, where)
    if not rows:
        return None
    case: dict[str, Any] = dict(zip(names, rows[0], strict=True))
    steps = sorted(
        [*_case_steps(store.schema, case), *_item_steps(store, where, now)], key=_step_order
    )
    return [Event(number, *step) for number, step in enumerate(steps)]


_Step = tuple[str, str, tuple[tuple[Column, SqlValue, SqlValue], ...], str | None, str | None]


def _step_order(step: _Step) -> tuple[str, bool]:
    return step[1], step[0] != "Case.Created"


def _case_steps(schema: Schema, case: Mapping[str, Any]) -> Iterator[_Step]:
    by = schema.by_connect
    author = case.get("created_by")
    names = [name for name in ("title", "customer_id", "case_reason") if name in by]
    status = by.get("status")
    changes = [(by[name], None, case[by[name].name]) for name in names]
    changes += [(status, None, "open")] if status else []
    yield "Case.Created", case["created_at"], tuple(changes), author, None
    for at, old, new in _status_changes(case) if "status" in by else ():
        yield "Case.Updated", at, ((by["status"], old, new),), case.get("last_updated_user"), None


def _status_changes(case: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the status changes: those that have times, and the one to the current status."""
    closed, reopened = case.get("closed_at"), case.get("last_reopened_datetime")
    changes = [(closed, "open", "closed")] if closed is not None else []
    changes += [(reopened, "closed", "open")] if reopened is not None else []
    changes.sort()
    previous, updated = changes[-1][2] if changes else "open", case.get("updated_at")
    # The row has no time for any other status, such as pending: the last update must have been it.
    if updated is not None and case.get("status") not in (None, previous):
        latest = max([updated, *(at for at, _, _ in changes)])
        changes.append((latest, previous, case["status"]))
    return changes


def _item_steps(store: Store, where: Where, now: str) -> Iterator[_Step]:
    for item in items_of(store, where, now):
        _, _, kind, at, _, author, *_ = item
        creator = None if author is None else str(author)
        yield "RelatedItem.Created", str(at), (), creator, str(kind)
