"""Milliseconds to plan a filter of a thousand conditions, and to mask a million rows with six.

Medians of five. Ends with status 1 where a gate is missed.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import reduce
from operator import and_, or_

import numpy as np
import pandas as pd

import casesearch_pd as cs
from casesearch_pd.query.binding import BindingContext, bind
from casesearch_pd.query.expressions import Expression
from casesearch_pd.query.schema import Field, Schema
from casesearch_pd.reading.frames.frame import mask

LEAVES = 1_000
LEVELS = 20
ROWS = 1_000_000
PLANNED = 0.1  # seconds
MASKED = 0.5
_TIMES = 5


def trees() -> dict[str, Expression]:
    """Make filters of a thousand conditions in every shape that users come up with."""
    number, text = cs.field("refund_amount_eur"), cs.field("title")
    above = [number > value for value in range(LEAVES)]
    pairs = [(number > value) & (cs.field("csat_1_5") < value) for value in range(LEAVES // 2)]
    deep: Expression = number > 0
    for level in range(LEVELS):
        leaves = above[level::LEVELS]
        deep = ~reduce(and_, [deep, *leaves]) if level % 2 else reduce(or_, [deep, *leaves])
    return {
        "any of a thousand values": text.isin([f"title {value}" for value in range(LEAVES)]),
        "a thousand ORs": reduce(or_, above),
        "a thousand ANDs": reduce(and_, above),
        "an OR of 500 ANDs": reduce(or_, pairs),
        "not an OR of 500 ANDs": ~reduce(or_, pairs),
        "a thousand over twenty levels": deep,
    }


def frame() -> pd.DataFrame:
    """Make a million cases; of most columns a tenth is missing."""
    rng = np.random.default_rng(0)
    gaps = rng.choice([True, False], ROWS, p=[0.1, 0.9])
    days = pd.to_datetime("2026-01-01", utc=True) + pd.to_timedelta(rng.random(ROWS) * 90, "D")
    titles = np.array(["Parcel never came", "Refund wanted", "App crashes on start", "Straße?"])
    return pd.DataFrame(
        {
            "status": pd.Series(rng.choice(["open", "pending", "closed"], ROWS), dtype="str"),
            "title": pd.Series(rng.choice(titles[:3], ROWS), dtype="str").mask(gaps),
            "city": pd.Series(rng.choice(titles, ROWS), dtype="str").mask(gaps),
            "amount": pd.Series(rng.random(ROWS) * 100, dtype="Float64").mask(gaps),
            "created_at": pd.Series(days, dtype="datetime64[us, UTC]"),
            "vip": pd.Series(rng.choice([True, False], ROWS), dtype="boolean").mask(gaps),
        }
    )


def filters() -> dict[str, Expression]:
    """Make filters of six conditions on that frame."""
    plain = (
        (cs.field("status") == "open")
        & cs.field("amount").between(10, 90)
        & (cs.field("created_at") < "2026-03")
        & ~(cs.field("vip") == True)  # noqa: E712 - a condition, not a truth
    )
    return {
        "six, text in ASCII": plain & cs.field("title").contains("refund"),
        "six, text in any script": plain & cs.field("city").contains("STRASSE"),
    }


def seconds(work: Callable[[], object]) -> float:
    """Take the median of a few goes, after one to warm up."""
    taken = []
    for _ in range(_TIMES + 1):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def show(name: str, taken: float, gate: float) -> bool:
    """Print one line of the table; tell whether the gate is kept."""
    kept = taken < gate
    print(f"{name:<44}{taken * 1e3:>9.1f} ms  of {gate * 1e3:g}{'' if kept else '   MISSED'}")
    return kept


def plan_all() -> list[bool]:
    """Plan every tree on both services."""
    kept = []
    with cs.LocalCases(cases=50) as local:
        for source in (local.connect_cases(), local.persona_cases()):
            assert source.schema  # discovery is no planning
            for name, tree in trees().items():
                taken = seconds(lambda at=source, tree=tree: cs.explain_cases(at, tree))
                kept.append(show(f"plan, {source.name}: {name}", taken, PLANNED))
    return kept


def mask_all() -> list[bool]:
    """Mask the million rows."""
    kinds = {"status": "select", "amount": "number", "created_at": "datetime", "vip": "boolean"}
    cases = frame()
    fields = tuple(Field(name, name, name, kinds.get(name, "text")) for name in cases)
    binding = BindingContext(Schema(fields), "UTC", pd.Timestamp.now("UTC"))
    kept = []
    for name, written in filters().items():
        bound = bind(written, binding)
        kept.append(show(f"mask: {name}", seconds(lambda bound=bound: mask(cases, bound)), MASKED))
    return kept


def main() -> int:
    """Print the table."""
    warnings.simplefilter("ignore", UserWarning)  # that these filters are dear is no news
    return 0 if all([*plan_all(), *mask_all()]) else 1


if __name__ == "__main__":
    sys.exit(main())
