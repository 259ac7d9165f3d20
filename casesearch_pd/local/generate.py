"""Believable cases from a seed: arrivals by weekday and hour, lives, queues, people, custom fields.

All times lie before the service's "now"; the same seed and the same now give the same cases.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np

from casesearch_pd.local.catalogue import (
    CHANNELS,
    LANGUAGES,
    PRIORITIES,
    REASONS,
    RESOLUTIONS,
    REVIEW,
    RISKS,
    SCHEMA,
    SUPPORT,
)
from casesearch_pd.local.draws import (
    NEVER,
    Flags,
    chance,
    iso,
    json_text,
    lists_of,
    masked,
    option_of,
    picked,
    some_of,
)
from casesearch_pd.local.lives import HOUR, Lives, arrivals, lives_of
from casesearch_pd.local.schema import made_id
from casesearch_pd.local.times import stored_time
from casesearch_pd.local.where import SqlValue

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
