"""A frame of cases in, one HTML file out: figures, pictures, cases, and how they were read.

What a frame lacks is told in a sentence in its place; what its numbers warn of stands under them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.notebook.cases import service_of
from casesearch_pd.notebook.export import replaced
from casesearch_pd.notebook.markup import document, element
from casesearch_pd.notebook.report.about import About, note
from casesearch_pd.notebook.report.figures import figures, groups
from casesearch_pd.notebook.report.listing import listing
from casesearch_pd.notebook.report.pictures import pictures
from casesearch_pd.notebook.report.reading import reading
from casesearch_pd.notebook.report.style import STYLE
from casesearch_pd.reading.frame import check_distinct

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path
    from xml.etree.ElementTree import Element

    import pandas as pd

    from casesearch_pd.notebook.names import Names

__all__ = ["report"]

_SERVICES = {"connect": "Amazon Connect cases", "persona": "Persona cases"}


def report(
    cases: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    names: Names = None,
    title: str | None = None,
) -> Path:
    """Write a report; see `CasesAccessor.report`."""
    check_distinct(cases)
    title = title or _SERVICES.get(service_of(cases) or "", "Cases")
    about = About.of(cases, names)
    with replaced(path) as (target, new):
        page = document(title, STYLE, _body(about, title))
        new.write_text(page, encoding="utf-8", errors="replace")
    return target


def _body(about: About, title: str) -> Iterator[Element]:
    yield element("header", element("h1", title), element("p", _subtitle(about), class_="quiet"))
    yield from _cautions(about)
    yield from figures(about)
    yield element("h2", "Pictures")
    yield from pictures(about)
    yield element("h2", "By group")
    yield from groups(about)
    yield element("h2", "Cases")
    yield from listing(about)
    yield element("h2", "How this was read")
    yield from reading(about)


def _subtitle(about: About) -> str:
    count = len(about.cases)
    when = f"as of {about.now:%A, %d %B %Y, %H:%M %Z}".rstrip()
    return f"{count:,} {'case' if count == 1 else 'cases'}, {when}"


def _cautions(about: About) -> Iterator[Element]:
    """Say before all else what is not there."""
    if about.told.get("complete") is False:
        yield note("Incomplete: some cases could not be read, so every figure here is too low.")
    for said in about.told.get("notes", ()):
        yield note(str(said))
    read, here = about.told.get("rows"), len(about.cases)
    if read is not None and read != here:
        yield note(
            f"{read:,} cases were read, and {here:,} are in this report: the frame was changed "
            "afterwards, which the query below does not tell."
        )
