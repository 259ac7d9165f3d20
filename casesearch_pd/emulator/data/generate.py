"""Random columns: a generator and shares in, lists of stored values out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casesearch_pd.emulator.data.schema import (
    CHANNELS,
    LANGUAGES,
    PRIORITIES,
    REASONS,
    RESOLUTIONS,
    REVIEW,
    RISKS,
    SCHEMA,
    SUPPORT,
    Option,
    made_id,
)
from casesearch_pd.emulator.data.store import SqlValue
from casesearch_pd.emulator.data.values import stored_time

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
"""A time that does not come."""


def chance(rng: np.random.Generator, size: int | tuple[int, int], share: float) -> Flags:
    """Return flags of which a share is true."""
    return rng.random(size) < share


def iso(times: Ints) -> list[SqlValue]:
    """Return times as stored, missing where they never come."""
    absent = times == NEVER
    text = np.datetime_as_string(np.where(absent, 0, times).astype("datetime64[ms]"))
    return masked(text.tolist(), ~absent)


def masked(values: Sequence[Any], shown: Flags) -> list[SqlValue]:
    """Return values, missing where they are not shown."""
    return [value if keep else None for value, keep in zip(values, shown.tolist(), strict=True)]


def picked(values: Sequence[str], index: Ints, shown: Flags) -> list[SqlValue]:
    """Return the value at each index, missing where it is not shown."""
    return [
        values[i] if keep else None for i, keep in zip(index.tolist(), shown.tolist(), strict=True)
    ]


def some_of(rng: np.random.Generator, values: Sequence[str], shown: Flags) -> list[SqlValue]:
    """Return a random value for each case, missing where it is not shown."""
    return picked(values, rng.choice(len(values), len(shown)), shown)


def option_of(
    rng: np.random.Generator, options: Sequence[Option], size: int, share: float
) -> list[SqlValue]:
    """Return a random option for a share of cases."""
    return some_of(rng, [option.value for option in options], chance(rng, size, share))


def lists_of(rng: np.random.Generator, values: Sequence[str], size: int) -> list[str]:
    """Return a random choice of several values for each case, as JSON."""
    chosen = chance(rng, (size, len(values)), 0.4)
    return [
        json_text([v for v, one in zip(values, row, strict=True) if one]) for row in chosen.tolist()
    ]


def json_text(value: Any) -> str:
    """Return a value as JSON text."""
    return msgspec.json.encode(value).decode()


_SPAN_DAYS = 120
HOUR = 3_600_000
_WEEKDAYS = np.array([1.25, 1.15, 1.05, 1.0, 0.95, 0.35, 0.25])
_HOURS = np.array(
    [1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 19, 18, 15, 16, 17, 16, 14, 12, 9, 7, 6, 4, 3, 2]
)
_CLOSE_HOURS = np.array([140.0, 60.0, 20.0, 6.0])  # low, normal, high, urgent


@dataclass(frozen=True)
class Lives:
    """What happened to each case, in milliseconds since 1970; `NEVER` is not yet."""

    created: Ints
    priority: Ints
    closed: Ints
    reopened: Ints
    updated: Ints
    is_open: Flags


def arrivals(rng: np.random.Generator, cases: int, end: int) -> Ints:
    """Return sorted times of arrival; about one in fifty shares the time of the one before."""
    first = (end // HOUR - _SPAN_DAYS * 24) * HOUR
    hours = np.arange(_SPAN_DAYS * 24)
    since_monday = hours + first // HOUR + 3 * 24  # 1970-01-01 was a Thursday
    weights = _HOURS[since_monday % 24] * _WEEKDAYS[since_monday // 24 % 7]
    chosen = rng.choice(hours, size=cases, p=weights / weights.sum())
    times = np.sort(first + chosen * HOUR + rng.integers(0, HOUR, cases))
    same = np.flatnonzero(chance(rng, cases, 0.02))
    times[same] = times[np.maximum(same - 1, 0)]
    return np.sort(times).astype(np.int64)


def lives_of(rng: np.random.Generator, created: Ints, end: int) -> Lives:
    """Return what happens to cases that arrive at these times, up to an end."""
    size = len(created)
    priority = rng.choice(4, size=size, p=[0.22, 0.5, 0.21, 0.07])
    stale = chance(rng, size, 0.05)
    closed = np.where(stale, NEVER, created + _spell(rng, _CLOSE_HOURS[priority]))
    closed = np.where(closed > end, NEVER, closed)
    again = chance(rng, size, 0.08) & (closed != NEVER)
    reopened = np.where(again, np.minimum(closed, end) + _spell(rng, np.full(size, 30.0)), NEVER)
    reopened = np.where(reopened > end, NEVER, reopened)
    second = np.where(reopened == NEVER, 0, reopened) + _spell(rng, _CLOSE_HOURS[priority] / 2)
    done_again = (reopened != NEVER) & (second <= end) & (chance(rng, size, 0.75))
    closed = np.where(done_again, second, closed)
    is_open = (closed == NEVER) | ((reopened != NEVER) & ~done_again)
    last = np.maximum(created, np.maximum(_or_zero(closed), _or_zero(reopened)))
    touched = last + ((end - last) * rng.beta(0.6, 2.5, size)).astype(np.int64)
    settled = np.minimum(last + rng.integers(0, 4 * HOUR, size), end)
    return Lives(created, priority, closed, reopened, np.where(is_open, touched, settled), is_open)


def _spell(rng: np.random.Generator, median_hours: Floats) -> Ints:
    drawn = median_hours * np.exp(rng.normal(0.0, 1.0, len(median_hours)))
    return (drawn * HOUR).astype(np.int64) + 60_000


def _or_zero(times: Ints) -> Ints:
    return np.where(times == NEVER, 0, times)


Cells = Sequence[SqlValue]

CHUNK = 10_000
_SLA_HOURS = np.array([168, 72, 24, 8])
_QUEUES = ("billing", "technical", "delivery", "accounts", "identity", "escalations", "vip")
_QUEUE_SHARES = (0.34, 0.24, 0.17, 0.12, 0.07, 0.04, 0.02)
_AGENTS = (
    "ann", "bilal", "chloe", "dmitri", "emeka", "fatima", "goran", "hana", "ines", "jonas",
    "keiko", "liam", "magda", "nuno", "olga", "priya",
)  # fmt: skip
_CITIES = (
    "Berlin",
    "Lyon",
    "東京",
    "القاهرة",
    "São Paulo",
    "Kraków",
    "Αθήνα",
    "Leeds",
    "Zürich",
    "Москва",
)
_PRODUCTS = ("Basic", "Plus / monthly", "Plus / yearly", "Family, 5 seats", "Pro “studio”", "Старт")
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


def generate(cases: int, *, seed: int, now: datetime) -> Iterator[list[tuple[SqlValue, ...]]]:
    """Yield chunks of rows of stored values in the order of the catalogue's columns.

    Parameters
    ----------
    cases
        How many cases.
    seed
        Seed of every choice.
    now
        No time is later than this.
    """
    end = _milliseconds(now)
    created = arrivals(np.random.default_rng([seed, 0]), cases, end)
    for number, start in enumerate(range(0, cases, CHUNK)):
        rng = np.random.default_rng([seed, 1, number])
        part = created[start : start + CHUNK]
        columns = _columns(rng, seed, start, lives_of(rng, part, end))
        yield list(zip(*(columns[column.name] for column in SCHEMA.columns), strict=True))


def _milliseconds(moment: datetime) -> int:
    return int(np.datetime64(stored_time(moment), "ms").astype(np.int64))


def _columns(rng: np.random.Generator, seed: int, start: int, lives: Lives) -> dict[str, Cells]:
    numbers = range(start, start + len(lives.created))
    review = chance(rng, len(numbers), 0.25)
    ids = [made_id("case", seed, number) for number in numbers]
    columns: dict[str, Cells] = {
        "case_id": ids,
        "reference": [f"C{number + 1:08d}" for number in numbers],
        "template_id": np.where(review, REVIEW, SUPPORT).tolist(),
    }
    columns |= _times(rng, lives)
    columns |= _people(rng, lives, review)
    columns |= _texts(rng, ids)
    columns |= _shared_fields(rng, lives)
    columns |= _support_fields(rng, lives, ~review)
    columns |= _review_fields(rng, review)
    columns |= _related(rng, ids, review)
    return columns


def _times(rng: np.random.Generator, lives: Lives) -> dict[str, Cells]:
    size = len(lives.created)
    due = lives.created + _SLA_HOURS[lives.priority] * HOUR
    has_sla = lives.is_open & (chance(rng, size, 0.85))
    early = rng.choice(3, size=size, p=[0.3, 0.45, 0.25])
    status = np.array(["open", "in_progress", "pending"], dtype=object)[early]
    taken = np.minimum(lives.created + rng.integers(0, 3 * HOUR, size), lives.updated)
    return {
        "status": np.where(lives.is_open, status, "closed").tolist(),
        "created_at": iso(lives.created),
        "updated_at": iso(lives.updated),
        "closed_at": iso(lives.closed),
        "resolved_at": iso(np.where(lives.is_open, NEVER, lives.closed)),
        "last_reopened_datetime": iso(lives.reopened),
        "sla_at": iso(np.where(has_sla, due, NEVER)),
        "assigned_at": iso(taken),
        "redacted_at": [None] * size,
        "resolution": some_of(rng, RESOLUTIONS, ~lives.is_open),
    }


def _people(rng: np.random.Generator, lives: Lives, review: Flags) -> dict[str, Cells]:
    size = len(review)
    shares = 1 / np.arange(1.0, len(_AGENTS) + 1)
    agent = rng.choice(len(_AGENTS), size=size, p=shares / shares.sum())
    creator = rng.choice(len(_AGENTS), size=size)
    emails = [f"{name}@example.com" for name in _AGENTS]
    arns = [f"{_ACCOUNT}/agent/{made_id('agent', name)[6:]}" for name in _AGENTS]
    queue = rng.choice(len(_QUEUES), size=size, p=_QUEUE_SHARES)
    queue = np.where(review, _QUEUES.index("identity"), queue)
    assigned = ~lives.is_open | (chance(rng, size, 0.7))
    done = ~lives.is_open
    has_queue = chance(rng, size, 0.96)
    kind = ["user", "workflow-run", "api-key"]
    return {
        "assignee": picked(emails, agent, assigned),
        "queue": picked([f"cqueue_{name}" for name in _QUEUES], queue, has_queue),
        "created_by": picked(arns, creator, chance(rng, size, 0.9)),
        "last_updated_user": picked(arns, agent, assigned),
        "account_owner": picked(arns, rng.choice(4, size=size), chance(rng, size, 0.3)),
        "creator_id": picked(emails, creator, np.ones(size, bool)),
        "creator_type": picked(
            kind, rng.choice(3, size=size, p=[0.7, 0.2, 0.1]), np.ones(size, bool)
        ),
        "assigner_id": picked(emails, creator, assigned),
        "assigner_type": picked(kind, np.zeros(size, np.int64), assigned),
        "resolver_id": picked(emails, agent, done),
        "resolver_type": picked(kind, np.zeros(size, np.int64), done),
        "updater_id": picked(emails, agent, assigned),
        "updater_type": picked(kind, np.zeros(size, np.int64), assigned),
    }


def _texts(rng: np.random.Generator, ids: Sequence[str]) -> dict[str, Cells]:
    size = len(ids)
    problem, city = rng.choice(len(_PROBLEMS), size), rng.choice(len(_CITIES), size)
    titles = [f"{_PROBLEMS[p]} ({_CITIES[c]})" for p, c in zip(problem, city, strict=True)]
    customers = rng.integers(0, max(size // 2, 1), size)
    profiles = [f"{_PROFILES}/{made_id('profile', int(c))[8:]}" for c in customers]
    summaries = [
        f"{title}. {_NOTES[n]}" for title, n in zip(titles, rng.choice(6, size), strict=True)
    ]
    return {
        "title": titles,
        "summary": masked(summaries, chance(rng, size, 0.8)),
        "customer_id": masked(profiles, chance(rng, size, 0.93)),
        "internal_notes": picked(_NOTES, rng.choice(6, size), chance(rng, size, 0.4)),
        "tags": _tags(rng, size),
    }


def _tags(rng: np.random.Generator, size: int) -> list[SqlValue]:
    teams = ("red", "blue", "green")
    team, cost = rng.choice(3, size), rng.integers(100, 108, size)
    shown, billed = chance(rng, size, 0.5), chance(rng, size, 0.25)
    return [
        json_text([f"cost center={c}"] * bool(b) + [f"team={teams[t]}"] * bool(s))
        for t, c, s, b in zip(team, cost, shown, billed, strict=True)
    ]


def _shared_fields(rng: np.random.Generator, lives: Lives) -> dict[str, Cells]:
    size = len(lives.created)
    return {
        "priority": picked([o.value for o in PRIORITIES], lives.priority, np.ones(size, bool)),
        "case_reason": option_of(rng, REASONS, size, 0.9),
        "contact_channel": option_of(rng, CHANNELS, size, 0.97),
        "língua": option_of(rng, LANGUAGES, size, 0.85),
        "contacts": (rng.poisson(1.6, size) + 1).tolist(),
        "vip_customer": masked(
            (chance(rng, size, 0.06)).astype(int).tolist(), chance(rng, size, 0.9)
        ),
        "field_2nd_line": masked(
            (chance(rng, size, 0.2)).astype(int).tolist(), chance(rng, size, 0.6)
        ),
    }


def _support_fields(rng: np.random.Generator, lives: Lives, here: Flags) -> dict[str, Cells]:
    size = len(here)
    orders = [f"{number:010d}" for number in rng.integers(0, 10**10, size)]
    callback = lives.updated + rng.integers(-48, 72, size) * HOUR
    rated = here & ~lives.is_open & (chance(rng, size, 0.45))
    some = here & (chance(rng, size, 0.7))
    amounts = np.round(np.exp(rng.normal(3.2, 1.1, size)), 2)
    return {
        "城市": some_of(rng, _CITIES, here),
        "order_number": masked(orders, some),
        "order_link": masked([f"https://shop.example.com/orders/{o}" for o in orders], some),
        "product_plan": some_of(rng, _PRODUCTS, some),
        "refund_amount_eur": masked(amounts.tolist(), here & chance(rng, size, 0.4)),
        "weight_kg": masked(np.round(rng.gamma(2.0, 1.5, size), 3).tolist(), some),
        "csat_1_5": masked(
            rng.choice([1, 2, 3, 4, 5], size, p=[0.1, 0.06, 0.14, 0.3, 0.4]).tolist(), rated
        ),
        "callback_due": iso(np.where(here & (chance(rng, size, 0.2)), callback, NEVER)),
        "shipment_status": some_of(rng, ("packed", "on its way", "delivered", "lost?"), some),
    }


def _review_fields(rng: np.random.Generator, here: Flags) -> dict[str, Cells]:
    size = len(here)
    births = np.datetime64("1950-01-01") + rng.integers(0, 20_000, size)
    streets = rng.integers(1, 200, size)
    return {
        "risk_score": masked(np.round(rng.beta(1.5, 6, size), 4).tolist(), here),
        "class": some_of(rng, ("A", "B", "C"), here),
        "birthdate": masked(np.datetime_as_string(births).tolist(), here),
        "email": masked([f"person{n}@example.org" for n in rng.integers(0, 10**6, size)], here),
        "risk_tags": masked(lists_of(rng, [o.value for o in RISKS], size), here),
        "aliases": masked(lists_of(rng, ["J. Doe", "山田 太郎", "Иван"], size), here),
        "address": masked([_address(int(n)) for n in streets], here),
        "raw_check": masked(
            [json_text({"score": int(n), "hits": [1, None]}) for n in streets], here
        ),
    }


def _address(number: int) -> str:
    return json_text(
        {"street": f"{number} High Street", "zip": f"{number:05d}", "verified": number % 2 == 0}
    )


def _related(rng: np.random.Generator, ids: Sequence[str], review: Flags) -> dict[str, Cells]:
    size = len(ids)
    with_file = chance(rng, size, 0.2)
    return {
        "accounts": _ids("act", ids, chance(rng, size, 0.6)),
        "inquiries": _ids("inq", ids, review),
        "reports": _ids("rep", ids, review & chance(rng, size, 0.5)),
        "verifications": _ids("ver", ids, review & chance(rng, size, 0.8)),
        "txns": _ids("txn", ids, ~review & chance(rng, size, 0.3)),
        "case_comments": _ids("cscm", ids, chance(rng, size, 0.35)),
        "attachments": [_attachment(i) if f else "[]" for i, f in zip(ids, with_file, strict=True)],
    }


def _ids(prefix: str, ids: Sequence[str], has: Flags) -> list[SqlValue]:
    return [
        json_text([made_id(prefix, case_id)]) if one else "[]"
        for case_id, one in zip(ids, has, strict=True)
    ]


def _attachment(case_id: str) -> str:
    secret = made_id("file", case_id)[5:]
    url = f"https://files.example.com/{secret[:8]}.pdf?access_token={secret}"
    return json_text(
        [{"filename": f"scan-{secret[:4]}.pdf", "url": url, "byte_size": 1000 + len(secret) * 37}]
    )
