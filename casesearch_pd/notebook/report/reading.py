"""How the cases of a report were read: from where, by which filter, when, how completely."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from casesearch_pd.errors import FilterError
from casesearch_pd.notebook.markup import element
from casesearch_pd.notebook.words import conditions
from casesearch_pd.query.expr import TRUE
from casesearch_pd.query.stored import from_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from casesearch_pd.notebook.report.about import About
    from casesearch_pd.query.expr import Expression

__all__ = ["reading"]


def reading(about: About) -> Iterator[Element]:
    """Tell from the provenance what was asked and what came."""
    if not about.told:
        yield element("p", "The frame does not tell how it was read.")
        return
    told = about.told
    yield element("dl", *_facts(told), class_="facts")
    yield element("h3", "Filter")
    yield from _filter(told)
    whole = element("pre", element("code", json.dumps(told, indent=1, ensure_ascii=False)))
    summary = element("summary", "Everything that the frame tells of its reading, as JSON")
    yield element("details", summary, whole)


def _facts(told: dict[str, Any]) -> Iterator[Element]:
    facts = {
        "Source": _source(told.get("source")),
        "As of": told.get("as_of"),
        "Complete": "yes" if told.get("complete") else "no",
        "Cases": _counted(told),
        "Full-text search": told.get("search"),
        "Order": ", ".join(map(str, told.get("sort") or ())),
        "Limit": told.get("limit"),
        "Requests": told.get("requests"),
        "Zone": told.get("tz"),
    }
    for name, fact in facts.items():
        if fact not in (None, ""):
            yield element("dt", name)
            yield element("dd", str(fact))


def _source(told: Any) -> str:
    if not isinstance(told, dict):
        return ""
    return ", ".join(
        f"{name} {value}" for name, value in told.items() if value not in (None, "", [])
    )


def _counted(told: dict[str, Any]) -> str:
    rows, total = told.get("rows"), told.get("total")
    if rows is None:
        return ""
    return f"{rows:,} read" + ("" if total is None else f", {total:,} matched")


def _filter(told: dict[str, Any]) -> Iterator[Element]:
    asked = _expression(told.get("filter"))
    if asked is None:
        yield element("p", "The frame does not tell its filter.")
    elif asked == TRUE:
        yield element("p", "None: every case.")
    else:
        yield element("ul", *(element("li", said) for said in conditions(asked)))
        yield element("pre", element("code", repr(asked)))
        yield element("pre", element("code", json.dumps(told["filter"], ensure_ascii=False)))


def _expression(stored: Any) -> Expression | None:
    try:
        return from_json(stored)
    except FilterError:
        return None
