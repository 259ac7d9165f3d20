"""Measure the methods of `df.cases` on a million cases, and compare them with plain pandas.

Medians of five, both in turn, on one core if the system allows it. The pandas code is what a
notebook has without this package: without calendar days of a time zone, reopened cases and
censoring, so it computes something simpler. The exit status is 1 if a limit is exceeded.
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


def generate_cases(rows: int = ROWS) -> pd.DataFrame:
    """Return cases of the emulator, repeated with different ids and times."""
    with cs.LocalCases(cases=_READ) as local:
        frame = cs.read_cases(local.connect_cases(), progress=False)
    cases = pd.concat([frame] * (rows // _READ), ignore_index=True)
    rng = np.random.default_rng(0)
    earlier = pd.to_timedelta(rng.integers(0, _HOUR, len(cases)), unit="ms")
    ids = pd.Series(np.arange(len(cases)).astype("str"), dtype="str")
    cases = cases.assign(case_id="case_" + ids, created_at=cases["created_at"] - earlier)
    cases.attrs.update(frame.attrs)
    return cases


def where(cases: pd.DataFrame) -> pd.DataFrame:
    """Filter by six conditions."""
    return cases.cases.where(
        status=["open", "pending"],
        priority__ne="low",
        refund_amount_eur__between=(10, 90),
        created_at__gte="2026-01-01",
        vip_customer=False,
        title__contains="refund",
    )


def pandas_where(cases: pd.DataFrame) -> pd.DataFrame:
    """Filter by the same conditions in pandas."""
    return cases[
        cases["status"].isin(["open", "pending"])
        & (cases["priority"] != "low")
        & cases["refund_amount_eur"].between(10, 90).fillna(False)
        & (cases["created_at"] >= pd.Timestamp("2026-01-01", tz="UTC"))
        & (~cases["vip_customer"]).fillna(False)
        & cases["title"].str.contains("refund", case=False, regex=False)
    ]


def pandas_flow(cases: pd.DataFrame) -> pd.DataFrame:
    """Return counts by day; open is the opened cases minus the closed ones."""
    columns = {"opened": "created_at", "closed": "closed_at", "reopened": "last_reopened_datetime"}
    days = {name: cases[column].dt.floor("D").value_counts() for name, column in columns.items()}
    flow = pd.DataFrame(days).resample("D").sum()
    return flow.assign(open=(flow["opened"] - flow["closed"] + flow["reopened"]).cumsum())


def pandas_summary(cases: pd.DataFrame) -> pd.DataFrame:
    """Return counts and medians by status, of the closed cases only."""
    now = pd.Timestamp.now("UTC")
    is_open = cases["status"].str.lower() != "closed"
    day = pd.Timedelta(days=1)
    measured = pd.DataFrame(
        {
            "status": cases["status"],
            "open": is_open,
            "age_days": ((now - cases["created_at"]) / day).where(is_open),
            "close_days": ((cases["closed_at"] - cases["created_at"]) / day).mask(is_open),
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
    """Return the time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def print_line(name: str, ours: list[float], pandas: list[float], limit: float) -> bool:
    """Print one line of the table; return whether the time is within the limit."""
    time, other = statistics.median(ours), statistics.median(pandas) if pandas else float("nan")
    within = time <= limit
    comparison = f"{other:>10.3f}{time / other:>9.2f}" if pandas else f"{'':>19}"
    verdict = "" if within else "   MISSED"
    print(f"{name:<22}{time:>12.6f}{comparison}{limit:>10g}{verdict}", flush=True)
    return within


def compare(
    name: str, ours: Callable[[], object], pandas: Callable[[], object] | None, limit: float
) -> bool:
    """Measure both in turn, after one call to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_TIMES + 1):
        times[0].append(seconds(ours))
        if pandas is not None:
            times[1].append(seconds(pandas))
    return print_line(name, times[0][1:], times[1][1:], limit)


def measure_access(cases: pd.DataFrame) -> list[float]:
    """Return the times of `df.cases` on frames that have no accessor yet."""
    frames = [cases.copy(deep=False) for _ in range(100)]
    return [seconds(lambda frame=frame: frame.cases) for frame in frames]


def main() -> int:
    """Print the table."""
    warnings.simplefilter("ignore", UserWarning)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cases = generate_cases()
    print(f"{len(cases):,} cases x {cases.shape[1]} columns")
    print(f"{'seconds':<22}{'ours':>12}{'pandas':>10}{'ratio':>9}{'limit':>10}")
    verdicts = [
        compare("where, 6 conditions", lambda: where(cases), lambda: pandas_where(cases), 0.5),
        compare('flow("D")', lambda: cases.cases.flow("D"), lambda: pandas_flow(cases), 1),
        compare("summary()", cases.cases.summary, lambda: pandas_summary(cases), 1),
        compare("durations()", cases.cases.durations, None, 1),
        compare("report", lambda: report(cases), None, 20),
        print_line("df.cases", measure_access(cases), [], 1e-4),
    ]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
