"""Generation of random cases: the same seed and time give the same cases.

Every value is drawn in a fixed order from generators of the seed. A new column must draw after all
others, or the cases of existing seeds change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casesearch_pd.emulator.data import schema
from casesearch_pd.emulator.data.files import FILE_FIELDS, attachment, file_fields
from casesearch_pd.emulator.data.schema import SCHEMA, Option, make_id
from casesearch_pd.emulator.data.store import Row, SqlValue
from casesearch_pd.emulator.data.values import stored_time

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Cells = Sequence[SqlValue]

# A time that does not occur; it is later than all others.
_NEVER = np.iinfo(np.int64).max
_SPAN_DAYS = 120
_HOUR = 3_600_000
# Relative number of new cases per weekday, from Monday, and per hour of the day.
_WEEKDAYS = np.array([1.25, 1.15, 1.05, 1.0, 0.95, 0.35, 0.25])
_HOURS = np.array(
    [1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 19, 18, 15, 16, 17, 16, 14, 12, 9, 7, 6, 4, 3, 2]
)
# Median hours until a case is closed, and until its SLA: low, normal, high, urgent priority.
_CLOSE_HOURS = np.array([140.0, 60.0, 20.0, 6.0])
_SLA_HOURS = np.array([168, 72, 24, 8])
_CHUNK_SIZE = 10_000
_QUEUES = ("billing", "technical", "delivery", "accounts", "identity", "escalations", "vip")
_QUEUE_SHARES = (0.34, 0.24, 0.17, 0.12, 0.07, 0.04, 0.02)
_AGENTS = (
    "ann", "bilal", "chloe", "dmitri", "emeka", "fatima", "goran", "hana", "ines", "jonas",
    "keiko", "liam", "magda", "nuno", "olga", "priya",
)  # fmt: skip
_CITIES = (
    "Berlin", "Lyon", "東京", "القاهرة", "São Paulo", "Kraków", "Αθήνα", "Leeds", "Zürich",
    "Москва",
)  # fmt: skip
_PRODUCTS = ("Basic", "Plus / monthly", "Plus / yearly", "Family, 5 seats", "Pro “studio”", "Старт")
# Texts in several scripts, with characters that are special in CSV files, HTML and patterns.
_PROBLEMS = (
    "Parcel not delivered", "Charged twice", "Cannot sign in", "Refund not received",
    "Wrong item received", "Invoice missing", "App crashes on start 📱", "Change of address",
    "Kündigung bestätigen", "住所を変更したい", "Facture incorrecte", "تأخر في التوصيل",
    "Verification document rejected", "Name does not match", "Слишком долгое ожидание",
)  # fmt: skip
_NOTES = (
    "Called back, no answer.", "Customer sent photos.\nForwarded to the carrier.",
    "Waiting for the bank; ask again on Monday.", "お客様に確認済み ✅",
    "Goodwill voucher offered & accepted.",
    "See also the earlier case; <b>do not</b> promise a date.",
)  # fmt: skip
_ACCOUNT = "arn:aws:connect:us-east-1:111122223333:instance/8a1f6c1e-0000-4000-8000-2f6b1c9d0e11"
_PROFILES = "arn:aws:profile:us-east-1:111122223333:domains/customers/profiles"


@dataclass(frozen=True)
class _CaseTimes:
    """The life of each case: times in milliseconds since 1970, `_NEVER` where not yet."""

    created: Ints
    priority: Ints
    closed: Ints
    reopened: Ints
    updated: Ints
    is_open: Flags


def generate(cases: int, *, seed: int, now: datetime) -> Iterator[list[Row]]:
    """Yield chunks of rows of stored values in the order of the columns of `SCHEMA`.

    No time of the past is later than `now`.
    """
    end = _milliseconds(now)
    created = _arrival_times(np.random.default_rng([seed, 0]), cases, end)
    # A generator per chunk: memory stays bounded, and each chunk draws independently.
    for number, start in enumerate(range(0, cases, _CHUNK_SIZE)):
        rng = np.random.default_rng([seed, 1, number])
        part = created[start : start + _CHUNK_SIZE]
        columns = _columns(rng, seed, start, _case_times(rng, part, end))
        yield list(zip(*(columns[column.name] for column in SCHEMA.columns), strict=True))


def _milliseconds(moment: datetime) -> int:
    return int(np.datetime64(stored_time(moment), "ms").astype(np.int64))


def _columns(
    rng: np.random.Generator, seed: int, start: int, times: _CaseTimes
) -> dict[str, Cells]:
    numbers = range(start, start + len(times.created))
    review = _flags(rng, len(numbers), 0.25)
    ids = [make_id("case", seed, number) for number in numbers]
    columns: dict[str, Cells] = {
        "case_id": ids,
        "reference": [f"C{number + 1:08d}" for number in numbers],
        "template_id": np.where(review, schema.REVIEW, schema.SUPPORT).tolist(),
    }
    columns |= _times(rng, times)
    columns |= _people(rng, times, review)
    columns |= _texts(rng, ids)
    columns |= _shared_fields(rng, times)
    columns |= _support_fields(rng, times, ~review)
    columns |= _review_fields(rng, review)
    columns |= _related(rng, ids, review)
    columns |= _files(rng, ids, review)
    return columns


def _times(rng: np.random.Generator, times: _CaseTimes) -> dict[str, Cells]:
    size = len(times.created)
    due = times.created + _SLA_HOURS[times.priority] * _HOUR
    has_sla = times.is_open & (_flags(rng, size, 0.85))
    index = rng.choice(3, size=size, p=[0.3, 0.45, 0.25])
    status = np.array(["open", "in_progress", "pending"], dtype=object)[index]
    assigned = np.minimum(times.created + rng.integers(0, 3 * _HOUR, size), times.updated)
    return {
        "status": np.where(times.is_open, status, "closed").tolist(),
        "created_at": _time_texts(times.created),
        "updated_at": _time_texts(times.updated),
        "closed_at": _time_texts(times.closed),
        # Persona clears the time when a case is reopened; Connect keeps the last one.
        "resolved_at": _time_texts(np.where(times.is_open, _NEVER, times.closed)),
        "last_reopened_datetime": _time_texts(times.reopened),
        "sla_at": _time_texts(np.where(has_sla, due, _NEVER)),
        "assigned_at": _time_texts(assigned),
        "redacted_at": [None] * size,
        "resolution": _choose(rng, schema.RESOLUTIONS, ~times.is_open),
    }


def _people(rng: np.random.Generator, times: _CaseTimes, review: Flags) -> dict[str, Cells]:
    size = len(review)
    # A few agents have most of the cases.
    shares = 1 / np.arange(1.0, len(_AGENTS) + 1)
    agent = rng.choice(len(_AGENTS), size=size, p=shares / shares.sum())
    creator = rng.choice(len(_AGENTS), size=size)
    emails = [f"{name}@example.com" for name in _AGENTS]
    arns = [f"{_ACCOUNT}/agent/{make_id('agent', name)[6:]}" for name in _AGENTS]
    queue = rng.choice(len(_QUEUES), size=size, p=_QUEUE_SHARES)
    queue = np.where(review, _QUEUES.index("identity"), queue)
    has_assignee = ~times.is_open | (_flags(rng, size, 0.7))
    is_closed = ~times.is_open
    has_queue = _flags(rng, size, 0.96)
    kinds = ["user", "workflow-run", "api-key"]
    everyone = np.ones(size, bool)
    return {
        "assignee": _pick(emails, agent, has_assignee),
        "queue": _pick([f"cqueue_{name}" for name in _QUEUES], queue, has_queue),
        "created_by": _pick(arns, creator, _flags(rng, size, 0.9)),
        "last_updated_user": _pick(arns, agent, has_assignee),
        "account_owner": _pick(arns, rng.choice(4, size=size), _flags(rng, size, 0.3)),
        "creator_id": _pick(emails, creator, everyone),
        "creator_type": _pick(kinds, rng.choice(3, size=size, p=[0.7, 0.2, 0.1]), everyone),
        "assigner_id": _pick(emails, creator, has_assignee),
        "assigner_type": _mask(["user"] * size, has_assignee),
        "resolver_id": _pick(emails, agent, is_closed),
        "resolver_type": _mask(["user"] * size, is_closed),
        "updater_id": _pick(emails, agent, has_assignee),
        "updater_type": _mask(["user"] * size, has_assignee),
    }


def _texts(rng: np.random.Generator, ids: Sequence[str]) -> dict[str, Cells]:
    size = len(ids)
    problem, city = rng.choice(len(_PROBLEMS), size), rng.choice(len(_CITIES), size)
    titles = [f"{_PROBLEMS[p]} ({_CITIES[c]})" for p, c in zip(problem, city, strict=True)]
    customers = rng.integers(0, max(size // 2, 1), size)
    profiles = [f"{_PROFILES}/{make_id('profile', int(c))[8:]}" for c in customers]
    summaries = [
        f"{title}. {_NOTES[n]}" for title, n in zip(titles, rng.choice(6, size), strict=True)
    ]
    return {
        "title": titles,
        "summary": _mask(summaries, _flags(rng, size, 0.8)),
        "customer_id": _mask(profiles, _flags(rng, size, 0.93)),
        "internal_notes": _pick(_NOTES, rng.choice(6, size), _flags(rng, size, 0.4)),
        "tags": _tags(rng, size),
    }


def _tags(rng: np.random.Generator, size: int) -> list[SqlValue]:
    teams = ("red", "blue", "green")
    team, cost = rng.choice(3, size), rng.integers(100, 108, size)
    has_team, has_cost = _flags(rng, size, 0.5), _flags(rng, size, 0.25)
    return [
        _json_text([f"cost center={c}"] * bool(with_cost) + [f"team={teams[t]}"] * bool(with_team))
        for t, c, with_team, with_cost in zip(team, cost, has_team, has_cost, strict=True)
    ]


def _shared_fields(rng: np.random.Generator, times: _CaseTimes) -> dict[str, Cells]:
    size = len(times.created)
    return {
        "priority": _pick(
            [o.value for o in schema.PRIORITIES], times.priority, np.ones(size, bool)
        ),
        "case_reason": _choose_option(rng, schema.REASONS, size, 0.9),
        "contact_channel": _choose_option(rng, schema.CHANNELS, size, 0.97),
        "língua": _choose_option(rng, schema.LANGUAGES, size, 0.85),
        "contacts": (rng.poisson(1.6, size) + 1).tolist(),
        "vip_customer": _choose_boolean(rng, size, 0.06, present=0.9),
        "field_2nd_line": _choose_boolean(rng, size, 0.2, present=0.6),
    }


def _support_fields(
    rng: np.random.Generator, times: _CaseTimes, is_member: Flags
) -> dict[str, Cells]:
    size = len(is_member)
    orders = [f"{number:010d}" for number in rng.integers(0, 10**10, size)]
    callback = times.updated + rng.integers(-48, 72, size) * _HOUR
    has_rating = is_member & ~times.is_open & (_flags(rng, size, 0.45))
    has_order = is_member & (_flags(rng, size, 0.7))
    amounts = np.round(np.exp(rng.normal(3.2, 1.1, size)), 2)
    return {
        "城市": _choose(rng, _CITIES, is_member),
        "order_number": _mask(orders, has_order),
        "order_link": _mask([f"https://shop.example.com/orders/{o}" for o in orders], has_order),
        "product_plan": _choose(rng, _PRODUCTS, has_order),
        "refund_amount_eur": _mask(amounts.tolist(), is_member & _flags(rng, size, 0.4)),
        "weight_kg": _mask(np.round(rng.gamma(2.0, 1.5, size), 3).tolist(), has_order),
        "csat_1_5": _mask(
            rng.choice([1, 2, 3, 4, 5], size, p=[0.1, 0.06, 0.14, 0.3, 0.4]).tolist(), has_rating
        ),
        "callback_due": _time_texts(
            np.where(is_member & (_flags(rng, size, 0.2)), callback, _NEVER)
        ),
        "shipment_status": _choose(rng, ("packed", "on its way", "delivered", "lost?"), has_order),
    }


def _review_fields(rng: np.random.Generator, is_member: Flags) -> dict[str, Cells]:
    size = len(is_member)
    births = np.datetime64("1950-01-01") + rng.integers(0, 20_000, size)
    streets = rng.integers(1, 200, size)
    return {
        "risk_score": _mask(np.round(rng.beta(1.5, 6, size), 4).tolist(), is_member),
        "class": _choose(rng, ("A", "B", "C"), is_member),
        "birthdate": _mask(np.datetime_as_string(births).tolist(), is_member),
        "email": _mask([f"person{n}@example.org" for n in rng.integers(0, 10**6, size)], is_member),
        "risk_tags": _mask(_choose_several(rng, [o.value for o in schema.RISKS], size), is_member),
        "aliases": _mask(_choose_several(rng, ["J. Doe", "山田 太郎", "Иван"], size), is_member),
        "address": _mask([_address(int(n)) for n in streets], is_member),
        "raw_check": _mask(
            [_json_text({"score": int(n), "hits": [1, None]}) for n in streets], is_member
        ),
    }


def _address(number: int) -> str:
    return _json_text(
        {"street": f"{number} High Street", "zip": f"{number:05d}", "verified": number % 2 == 0}
    )


def _related(rng: np.random.Generator, ids: Sequence[str], review: Flags) -> dict[str, Cells]:
    size = len(ids)
    with_file = _flags(rng, size, 0.2)
    return {
        "accounts": _ids("act", ids, _flags(rng, size, 0.6)),
        "inquiries": _ids("inq", ids, review),
        "reports": _ids("rep", ids, review & _flags(rng, size, 0.5)),
        "verifications": _ids("ver", ids, review & _flags(rng, size, 0.8)),
        "txns": _ids("txn", ids, ~review & _flags(rng, size, 0.3)),
        "case_comments": _ids("cscm", ids, _flags(rng, size, 0.35)),
        "attachments": [
            _json_text([attachment(case_id)] if has_file else [])
            for case_id, has_file in zip(ids, with_file, strict=True)
        ],
    }


def _ids(prefix: str, ids: Sequence[str], has: Flags) -> list[SqlValue]:
    return [
        _json_text([make_id(prefix, case_id)]) if one else "[]"
        for case_id, one in zip(ids, has, strict=True)
    ]


def _files(rng: np.random.Generator, ids: Sequence[str], review: Flags) -> dict[str, Cells]:
    has = review & _flags(rng, len(ids), 0.7)
    fields = [file_fields(case_id) if one else {} for case_id, one in zip(ids, has, strict=True)]
    return {name: [_json_text(f[name]) if f else None for f in fields] for name in FILE_FIELDS}


def _arrival_times(rng: np.random.Generator, cases: int, end: int) -> Ints:
    """Return sorted times of arrival; about one in fifty shares the time of the one before."""
    first = (end // _HOUR - _SPAN_DAYS * 24) * _HOUR
    hours = np.arange(_SPAN_DAYS * 24)
    # 1970-01-01 was a Thursday.
    since_monday = hours + first // _HOUR + 3 * 24
    weights = _HOURS[since_monday % 24] * _WEEKDAYS[since_monday // 24 % 7]
    hour = rng.choice(hours, size=cases, p=weights / weights.sum())
    times = np.sort(first + hour * _HOUR + rng.integers(0, _HOUR, cases))
    # Equal times are what paging by time must cope with.
    ties = np.flatnonzero(_flags(rng, cases, 0.02))
    times[ties] = times[np.maximum(ties - 1, 0)]
    return np.sort(times).astype(np.int64)


def _case_times(rng: np.random.Generator, created: Ints, end: int) -> _CaseTimes:
    """Return the lives of cases with these creation times, up to an end."""
    size = len(created)
    priority = rng.choice(4, size=size, p=[0.22, 0.5, 0.21, 0.07])
    stale = _flags(rng, size, 0.05)
    closed = np.where(stale, _NEVER, created + _durations(rng, _CLOSE_HOURS[priority]))
    closed = np.where(closed > end, _NEVER, closed)
    reopens = _flags(rng, size, 0.08) & (closed != _NEVER)
    delay = _durations(rng, np.full(size, 30.0))
    reopened = np.where(reopens, np.minimum(closed, end) + delay, _NEVER)
    reopened = np.where(reopened > end, _NEVER, reopened)
    second_close = _or_zero(reopened) + _durations(rng, _CLOSE_HOURS[priority] / 2)
    closes_again = (reopened != _NEVER) & (second_close <= end) & (_flags(rng, size, 0.75))
    closed = np.where(closes_again, second_close, closed)
    is_open = (closed == _NEVER) | ((reopened != _NEVER) & ~closes_again)
    last_event = np.maximum(created, np.maximum(_or_zero(closed), _or_zero(reopened)))
    # A reopened case that is closed again has one closing time, its last, as both services have.
    # Open cases are updated at any time since, closed ones shortly after they were closed.
    open_update = last_event + ((end - last_event) * rng.beta(0.6, 2.5, size)).astype(np.int64)
    closed_update = np.minimum(last_event + rng.integers(0, 4 * _HOUR, size), end)
    updated = np.where(is_open, open_update, closed_update)
    return _CaseTimes(created, priority, closed, reopened, updated, is_open)


def _durations(rng: np.random.Generator, median_hours: Floats) -> Ints:
    """Return log-normal durations in milliseconds."""
    hours = median_hours * np.exp(rng.normal(0.0, 1.0, len(median_hours)))
    return (hours * _HOUR).astype(np.int64) + 60_000


def _or_zero(times: Ints) -> Ints:
    return np.where(times == _NEVER, 0, times)


def _flags(rng: np.random.Generator, size: int | tuple[int, int], share: float) -> Flags:
    """Return random flags that are true with a probability."""
    return rng.random(size) < share


def _time_texts(times: Ints) -> list[SqlValue]:
    """Return times as stored, missing where they do not occur."""
    absent = times == _NEVER
    text = np.datetime_as_string(np.where(absent, 0, times).astype("datetime64[ms]"))
    return _mask(text.tolist(), ~absent)


def _mask(values: Sequence[Any], present: Flags) -> list[SqlValue]:
    """Return values, missing where the flag is false."""
    return [value if one else None for value, one in zip(values, present.tolist(), strict=True)]


def _pick(values: Sequence[str], index: Ints, present: Flags) -> list[SqlValue]:
    """Return the value at each index, missing where the flag is false."""
    return [
        values[i] if one else None for i, one in zip(index.tolist(), present.tolist(), strict=True)
    ]


def _choose(rng: np.random.Generator, values: Sequence[str], present: Flags) -> list[SqlValue]:
    """Return a random value for each case, missing where the flag is false."""
    return _pick(values, rng.choice(len(values), len(present)), present)


def _choose_option(
    rng: np.random.Generator, options: Sequence[Option], size: int, share: float
) -> list[SqlValue]:
    """Return a random option for a share of cases."""
    return _choose(rng, [option.value for option in options], _flags(rng, size, share))


def _choose_boolean(
    rng: np.random.Generator, size: int, share: float, *, present: float
) -> list[SqlValue]:
    """Return booleans of which a share is true, for a share of cases."""
    return _mask(_flags(rng, size, share).astype(int).tolist(), _flags(rng, size, present))


def _choose_several(rng: np.random.Generator, values: Sequence[str], size: int) -> list[str]:
    """Return a random subset of the values for each case, as JSON."""
    flags = _flags(rng, (size, len(values)), 0.4)
    return [
        _json_text([v for v, one in zip(values, row, strict=True) if one]) for row in flags.tolist()
    ]


def _json_text(value: Any) -> str:
    """Return a value as JSON text."""
    return msgspec.json.encode(value).decode()
