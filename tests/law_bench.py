"""Services and sources on which the laws of the filter language are tried, one of every kind."""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
from hypothesis import HealthCheck, settings

import casesearch_pd as cs
from tests.filter_trees import SearchableTable, searchable_table
from tests.hostile_cases import NOW, shown_by, to_frame

# What the documents of the services leave open, each way at least once: the service, the source.
KINDS = {
    "connect": ({}, {}),
    "connect-tokens": (
        {"text_match": "token", "unset": "empty", "cursor": "offset"},
        {"assume": {"empty_filter": True}, "page_size": 30},
    ),
    "connect-caseless": ({"text_match": "caseless", "unset": "null", "nulls": "first"}, {}),
    "connect-ranges": ({"text_ranges": True, "default_fields": "system"}, {"page_size": 100}),
    "connect-generated": ({"cases": 130}, {}),
    "persona": ({}, {"assume": {"exact_text": True}}),
    "persona-caseless": ({"text_match": "caseless", "nulls": "first"}, {}),
    "persona-bare": ({"wrapped": False, "cursor": "offset", "sparse_relationships": True}, {}),
    "persona-tokens": ({"text_match": "token", "list_match": "refuse"}, {}),
    "persona-generated": ({"cases": 130}, {}),
    "persona-listed": ({}, {"fresh": True}),
}
# Where two values of a text cannot both be equal to it.
DISJOINT = {"persona", "persona-caseless", "persona-bare", "persona-generated"}
# What answers show in another form than a frame has it, and what no template lets be searched.
UNASKED = ["attachments", "address", "raw_check", "internal_notes"]
RELATED = ["tags", "accounts", "inquiries", "reports", "verifications", "txns", "case_comments"]

LAW = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
QUICK = settings(LAW, derandomize=True, database=None)


@dataclass(frozen=True)
class Bench:
    """A service, a source bound to it, its columns and rows to filter, and all of its cases."""

    kind: str
    local: cs.LocalCases
    source: object
    table: SearchableTable
    whole: pd.DataFrame

    def _repr_pretty_(self, printer, _cycle):
        printer.text(self.kind)  # Hypothesis writes it out with every example


@contextmanager
def quietly():
    """Read without a word about what a filter costs; other tests are about that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def a_bench(kind, rows, served, options):
    with cs.LocalCases(
        served.get("cases", to_frame(rows)), seed=5, now=NOW, **_without(served)
    ) as local:
        service = kind.partition("-")[0]
        source = getattr(local, f"{service}_cases")(**options)
        held = _generated(service, local) if "cases" in served else shown_by(service, rows)
        with quietly():
            whole = cs.read_cases(source)
        yield Bench(kind, local, source, searchable_table(source, held), whole)


def _without(served):
    return {name: value for name, value in served.items() if name != "cases"}


def _generated(service, local):
    """Take the service's own word for what it made up."""
    frame = local.frame(service).drop(columns=UNASKED, errors="ignore")
    rows = frame.astype(object).to_dict("records")
    return [{name: _plain(name, cell) for name, cell in row.items()} for row in rows]


def _plain(name, cell):
    if name in RELATED:
        return cell or []
    if isinstance(cell, list):
        return cell
    return None if pd.isna(cell) else getattr(cell, "to_pydatetime", lambda: cell)()
