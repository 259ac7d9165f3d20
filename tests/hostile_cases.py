"""Cases that a careless client reads wrongly: rows of plain values, and the frame that holds them.

Missing everywhere, one text in several letter cases, scripts without cases, quotes and wildcards,
numbers at the end of what a double holds, tied times, times at the borders of milliseconds and of
days with a clock change.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
from hypothesis import strategies as st

LONG = "lang " * 150  # beyond what a service may cut a sort key to
TEXTS = [
    "Open", "open", "OPEN", "", " ", "open ", "Forward Web Engineer", "Forward Web Engineer-1",
    "Straße", "STRASSE", "İstanbul", "istanbul", "ΟΔΟΣ", "οδος", "日本語の件名", "مرحبا",
    "👩‍👩‍👧 🙂",
    "it's \"q\"", "back\\slash", "50%", "under_score", "a\nb", "null", "NaN", "a\x00b", LONG + "a",
    LONG + "b",
]  # fmt: skip
_BERLIN = [datetime(2026, 3, 29, tzinfo=ZoneInfo("Europe/Berlin")),
           datetime(2026, 3, 30, tzinfo=ZoneInfo("Europe/Berlin")),
           datetime(2025, 10, 27, tzinfo=ZoneInfo("Europe/Berlin"))]  # fmt: skip
_SAO_PAULO = [datetime(2018, 11, 4, 1, tzinfo=ZoneInfo("America/Sao_Paulo")),
              datetime(2018, 2, 18, tzinfo=ZoneInfo("America/Sao_Paulo"))]  # fmt: skip
_NIGHTS = [moment.astimezone(UTC) for moment in (*_BERLIN, *_SAO_PAULO)]
_NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
TIMES = [
    *(night + timedelta(milliseconds=ms) for night in _NIGHTS for ms in (-1, 0)),
    *(_NOON + timedelta(milliseconds=ms) for ms in (-1, 0, 0, 0, 1, 999, 1000)),
    datetime(2025, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
]  # fmt: skip
NOW = datetime(2026, 6, 1, tzinfo=UTC)
STAGES = [f"stage {n}" for n in range(40)]
STATUSES = ["Open", "open", "OPEN", "closed", "Ready for Review", *STAGES]
USERS = [f"arn:aws:connect:us-east-1:111122223333:instance/i/agent/{n}" for n in range(3)]
PROFILES = [f"arn:aws:profile:us-east-1:111122223333:domains/d/profiles/{n}" for n in range(3)]
HELD = {
    "reference": ["C1", "c1", "C2"], "title": TEXTS, "status": STATUSES, "created_at": TIMES,
    "updated_at": TIMES, "closed_at": TIMES, "sla_at": TIMES,
    "assignee": ["ann@x.example", "Ann@x.example"], "queue": ["cqueue_a", "cqueue_b"],
    "customer_id": PROFILES, "created_by": USERS,
    "tags": [[], ["team=red"], ["team=red", "urgent=", "Team=red"], ["größe=XL", "a=b=c"]],
    "note": TEXTS, "amount": [0.0, -0.0, 0.1, -2.5, 3.0, 1e300, 5e-324, 2.0**53, -(2.0**53)],
    "size": [0, 1, -1, 7, 2**53, -(2**53)], "vip": [True, False], "due": TIMES,
    "level": ["low", "high", "Low", "urgent"], "words": [[], ["a"], ["a", "b c"], ["Open", "ß"]],
}  # fmt: skip
ALWAYS = {"created_at", "updated_at", "tags"}


def to_frame(rows):
    """Make the DataFrame that holds these rows, with a dtype for every kind of field."""
    frame = pd.DataFrame({name: [row[name] for row in rows] for name in rows[0]})
    dtypes = {"amount": "Float64", "size": "Int64", "vip": "boolean"}
    for name in ("title", "note", "reference", "assignee", "queue", "customer_id", "created_by"):
        dtypes[name] = "str"
    for name in ("created_at", "updated_at", "closed_at", "sla_at", "due"):
        dtypes[name] = "datetime64[us, UTC]"
    dtypes["level"] = dtypes["status"] = "category"
    return frame.astype(dtypes)


def hostile_rows(rows=110):
    """Walk through the hostile values at another stride in every column, with gaps."""

    def cell(name, row, stride):
        values = HELD[name] if name in ALWAYS else [*HELD[name], None, None]
        return values[(row * stride + row // 11) % len(values)]

    return [
        {"case_id": f"case-{row:03d}"}
        | {name: cell(name, row, stride) for stride, name in enumerate(HELD, 1)}
        for row in range(rows)
    ]


@st.composite
def case_rows(draw, least=1, most=40):
    """Draw rows of hostile cases."""
    size = draw(st.integers(least, most))
    columns = {name: draw(st.lists(_cells(name), min_size=size, max_size=size)) for name in HELD}
    return [
        {"case_id": f"case-{row:03d}"} | {name: values[row] for name, values in columns.items()}
        for row in range(size)
    ]


def _cells(name):
    values = st.sampled_from(HELD[name])
    if name in {"title", "note"}:
        values |= st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return values if name in ALWAYS else st.none() | values


def shown_by(name, rows):
    """Bring rows into the form in which a service shows them."""
    if name == "persona":
        return rows
    # Amazon Connect has no field for lists; the local service shows them as one text.
    combined = [None if row["words"] is None else ", ".join(row["words"]) for row in rows]
    return [row | {"words": text} for row, text in zip(rows, combined, strict=True)]
