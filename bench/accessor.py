"""Seconds for the questions of `df.cases` on a million cases, beside the plain pandas way.

Medians of five, the two ways in turn; one core where the machine lets a process choose. The
plain way is what a notebook has without this package: it knows no zone's calendar, no reopening
and no censoring, so it answers a simpler question. Ends with status 1 where a gate is missed.
"""

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import casesearch_pd as cs

ROWS = 1_000_000
_READ = 20_000  # cases, repeated with other ids and times
_TIMES = 5
_HOUR = 3_600_000  # milliseconds


def made(rows: int = ROWS) -> pd.DataFrame:
    """Read cases from the embedded service; repeat them, no two at one time."""
    with cs.LocalCases(cases=_READ) as local:
        read = cs.read_cases(local.connect_cases(), progress=False)
    cases = pd.concat([read] * (rows // _READ), ignore_index=True)
    rng = np.random.default_rng(0)
    earlier = pd.to_timedelta(rng.integers(0, _HOUR, len(cases)), unit="ms")
    ids = pd.Series(np.arange(len(cases)).astype("str"), dtype="str")
    cases = cases.assign(case_id="case_" + ids, created_at=cases["created_at"] - earlier)
    cases.attrs.update(read.attrs)
    return cases


def where(cases: pd.DataFrame) -> pd.DataFrame:
    """Choose by six conditions."""
    return cases.cases.where(
        status=["open", "pending"],
        priority__ne="low",
        refund_amount_eur__between=(10, 90),
        created_at__gte="2026-01-01",
        vip_customer=False,
        title__contains="refund",
    )


def plain_where(cases: pd.DataFrame) -> pd.DataFrame:
    """Choose by the same conditions, as pandas writes them."""
    return cases[
        cases["status"].isin(["open", "pending"])
        & (cases["priority"] != "low")
        & cases["refund_amount_eur"].between(10, 90).fillna(False)
        & (cases["created_at"] >= pd.Timestamp("2026-01-01", tz="UTC"))
        & (~cases["vip_customer"]).fillna(False)
        & cases["title"].str.contains("refund", case=False, regex=False)
    ]


def plain_flow(cases: pd.DataFrame) -> pd.DataFrame:
    """Count by day; open is what came less what is closed."""
    columns = {"opened": "created_at", "closed": "closed_at", "reopened": "last_reopened_datetime"}
    days = {name: cases[column].dt.floor("D").value_counts() for name, column in columns.items()}
    found = pd.DataFrame(days).resample("D").sum()
    return found.assign(open=(found["opened"] - found["closed"] + found["reopened"]).cumsum())


def plain_summary(cases: pd.DataFrame) -> pd.DataFrame:
    """Count and take medians by status, of the closed cases only."""
    now = pd.Timestamp.now("UTC")
    still = cases["status"].str.lower() != "closed"
    day = pd.Timedelta(days=1)
    measured = pd.DataFrame(
        {
            "status": cases["status"],
            "open": still,
            "age_days": ((now - cases["created_at"]) / day).where(still),
            "close_days": ((cases["closed_at"] - cases["created_at"]) / day).mask(still),
            "within_sla": cases["closed_at"] <= cases["sla_at"],
        }
    )
    return measured.groupby("status", dropna=False).agg(
        count=("open", "size"),
        open=("open", "sum"),
        median_age_days=("age_days", "median"),
        median_close_days=("close_days", "median"),
        p90_close_days=("close_days", lambda days: days.quantile(0.9)),
        within_sla=("within_sla", "mean"),
    )


def report(cases: pd.DataFrame) -> None:
    """Write the report of all cases."""
    with tempfile.TemporaryDirectory() as folder:
        cases.cases.report(Path(folder) / "cases.html")


def seconds(work: Callable[[], object]) -> float:
    """Time one go."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def show(name: str, ours: list[float], plain: list[float], gate: float) -> bool:
    """Print one line of the table; tell whether the gate is kept."""
    own = statistics.median(ours)
    other = statistics.median(plain) if plain else float("nan")
    kept = own <= gate
    told = f"{other:>10.3f}{own / other:>9.2f}" if plain else f"{'':>19}"
    print(f"{name:<22}{own:>12.6f}{told}{gate:>10g}{'' if kept else '   MISSED'}", flush=True)
    return kept


def compared(
    name: str, ours: Callable[[], object], plain: Callable[[], object] | None, gate: float
) -> bool:
    """Measure both in turn, after one go to warm up."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(_TIMES + 1):
        taken[0].append(seconds(ours))
        if plain is not None:
            taken[1].append(seconds(plain))
    return show(name, taken[0][1:], taken[1][1:], gate)


def access(cases: pd.DataFrame) -> list[float]:
    """Time `df.cases` on frames that have not been asked yet."""
    fresh = [cases.copy(deep=False) for _ in range(100)]
    return [seconds(lambda frame=frame: frame.cases) for frame in fresh]


def main() -> int:
    """Print the table."""
    warnings.simplefilter("ignore", UserWarning)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cases = made()
    print(f"{len(cases):,} cases x {cases.shape[1]} columns")
    print(f"{'seconds':<22}{'ours':>12}{'pandas':>10}{'ratio':>9}{'gate':>10}")
    kept = [
        compared("where, 6 conditions", lambda: where(cases), lambda: plain_where(cases), 0.5),
        compared('flow("D")', lambda: cases.cases.flow("D"), lambda: plain_flow(cases), 1),
        compared("summary()", cases.cases.summary, lambda: plain_summary(cases), 1),
        compared("durations()", cases.cases.durations, None, 1),
        compared("report", lambda: report(cases), None, 20),
        show("df.cases", access(cases), [], 1e-4),
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
