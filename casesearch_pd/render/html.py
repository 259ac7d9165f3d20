"""HTML documents and fragments, built so that text is never interpreted as markup.

A page is a tree of elements that is serialized once, at the end, so no caller has to remember
to escape. The document loads nothing, and its content security policy forbids scripts and
connections, should markup get into it in spite of that.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "Fragment",
    "append_all",
    "document",
    "element",
    "fragment",
    "image",
    "replace_control_chars",
    "table",
]

Fragment = str | ET.Element


def element(tag: str, *children: Fragment, **attributes: str) -> ET.Element:
    """Return a new element of texts and elements.

    In the names of attributes an underscore stands for a hyphen, and a trailing one is dropped.

    >>> ET.tostring(element("p", "a < b ", element("b", "<i>"), class_="note"), method="html")
    b'<p class="note">a &lt; b <b>&lt;i&gt;</b></p>'
    """
    names = {name: name.rstrip("_").replace("_", "-") for name in attributes}
    parent = ET.Element(tag, {names[name]: value for name, value in attributes.items()})
    return append_all(parent, children)


def append_all(parent: ET.Element, children: Iterable[Fragment]) -> ET.Element:
    """Append texts and elements to an element and return it."""
    for child in children:
        if isinstance(child, str):
            _append_text(parent, child)
        else:
            parent.append(child)
    return parent


def _append_text(parent: ET.Element, text: str) -> None:
    # ElementTree stores text behind a child as that child's tail.
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def image(content: bytes, alt: str, subtype: str = "svg+xml") -> ET.Element:
    """Return an image with its content in the page: so it can neither run nor load anything."""
    encoded = base64.b64encode(content).decode("ascii")
    return element("img", src=f"data:image/{subtype};base64,{encoded}", alt=alt)


def table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[Fragment]],
    formats: Mapping[int, str] | None = None,
) -> ET.Element:
    """Return a table that scrolls by itself if it is wide; the first cell of a row is its heading.

    `formats` are the CSS classes of columns, such as ``"number"``, by the column's position.
    """
    classes = {at: {"class_": name} for at, name in (formats or {}).items()}
    head = [
        element("th", name, scope="col", **classes.get(at, {})) for at, name in enumerate(headings)
    ]
    body = [element("tr", *_cells(row, classes)) for row in rows]
    content = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    # What scrolls must be reachable by keyboard and have a name for screen readers.
    return element("div", content, class_="wide", tabindex="0", role="region", aria_label=caption)


def _cells(row: Sequence[Fragment], classes: Mapping[int, dict[str, str]]) -> Iterator[ET.Element]:
    heading, *others = row
    yield element("th", heading, scope="row", **classes.get(0, {}))
    for at, cell in enumerate(others, 1):
        yield element("td", cell, **classes.get(at, {}))


def fragment(*children: Fragment) -> str:
    """Return the HTML of a part of a page, without misleading characters.

    >>> fragment(element("b", "1 < 2"), " and ", element("br"))
    '<span><b>1 &lt; 2</b> and <br></span>'
    """
    return replace_control_chars(
        ET.tostring(element("span", *children), encoding="unicode", method="html")
    )


def replace_control_chars(text: str) -> str:
    r"""Return a text whose control characters, also those of text direction, are visible.

    >>> replace_control_chars("a\0b"), replace_control_chars("invoice\u202efdp.exe")
    ('a␀b', 'invoice�fdp.exe')
    """
    return text.translate(_REPLACEMENTS)


_REPLACEMENT = "\ufffd"
_CONTROL_PICTURES = 0x2400  # Unicode has a picture of each control character from here on
_ALLOWED = {ord("\n"), ord("\t")}
# Characters of text direction are invisible but can make a text read as another one (Unicode
# Technical Report 36, "Bidirectional Text Spoofing"); half a surrogate pair is no valid UTF-8.
_REPLACEMENTS = {
    **{code: chr(_CONTROL_PICTURES + code) for code in range(0x20) if code not in _ALLOWED},
    **dict.fromkeys(range(0x7F, 0xA0), _REPLACEMENT),
    **dict.fromkeys((0x061C, 0x200E, 0x200F), _REPLACEMENT),
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), _REPLACEMENT),
    **dict.fromkeys(range(0xD800, 0xE000), _REPLACEMENT),
}


def document(title: str, style: str, body: Iterable[Fragment]) -> str:
    """Return the HTML of a page, whose only style sheet is `style`."""
    # The hash allows this one style sheet; everything else is denied by default.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", style),
    )
    page = element("html", head, element("body", element("main", *body)), lang="en")
    return "<!doctype html>\n" + ET.tostring(page, encoding="unicode", method="html") + "\n"
