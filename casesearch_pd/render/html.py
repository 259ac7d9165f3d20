"""Text and elements in, HTML out, a whole document or a piece; text is never taken for markup.

A page is a tree of elements that is written at the end, so there is no place where somebody
could forget to escape. The document loads nothing, and its content security policy forbids
it to: what slipped in all the same could neither run nor call home.
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


def element(tag: str, *inside: Fragment, **attributes: str) -> ET.Element:
    """Make an element.

    Parameters
    ----------
    tag
        Its name.
    *inside
        Texts and elements, in order.
    **attributes
        Its attributes; an underscore stands for a hyphen, and one at the end for nothing.

    Examples
    --------
    >>> ET.tostring(element("p", "a < b ", element("b", "<i>"), class_="note"), method="html")
    b'<p class="note">a &lt; b <b>&lt;i&gt;</b></p>'
    """
    names = {name: name.rstrip("_").replace("_", "-") for name in attributes}
    made = ET.Element(tag, {names[name]: value for name, value in attributes.items()})
    return append_all(made, inside)


def append_all(parent: ET.Element, inside: Iterable[Fragment]) -> ET.Element:
    """Put texts and elements into an element, after what is there."""
    for item in inside:
        if isinstance(item, str):
            _add_text(parent, item)
        else:
            parent.append(item)
    return parent


def _add_text(parent: ET.Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def image(drawn: bytes, words: str, kind: str = "svg+xml") -> ET.Element:
    """Make an image, which as one can neither run nor load anything; `kind` as in its MIME type."""
    held = base64.b64encode(drawn).decode("ascii")
    return element("img", src=f"data:image/{kind};base64,{held}", alt=words)


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[Fragment]],
    looks: Mapping[int, str] | None = None,
) -> ET.Element:
    """Make a table that is scrolled by itself if it is wide; the first cell names its row.

    Parameters
    ----------
    caption
        What it shows.
    head
        The names of the columns.
    rows
        The cells, of each row as many.
    looks
        The class of a column's cells, such as ``"number"``, by its place.
    """
    classes = {at: {"class_": look} for at, look in (looks or {}).items()}
    top = [element("th", name, scope="col", **classes.get(at, {})) for at, name in enumerate(head)]
    body = [element("tr", *_cells(row, classes)) for row in rows]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *top)),
        element("tbody", *body),
    )
    return element("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def _cells(row: Sequence[Fragment], classes: Mapping[int, dict[str, str]]) -> Iterator[ET.Element]:
    name, *others = row
    yield element("th", name, scope="row", **classes.get(0, {}))
    for at, inside in enumerate(others, 1):
        yield element("td", inside, **classes.get(at, {}))


def fragment(*inside: Fragment) -> str:
    """Write a piece of a page, with no sign in it that only misleads; see `replace_control_chars`.

    Examples
    --------
    >>> fragment(element("b", "1 < 2"), " and ", element("br"))
    '<span><b>1 &lt; 2</b> and <br></span>'
    """
    return replace_control_chars(
        ET.tostring(element("span", *inside), encoding="unicode", method="html")
    )


def replace_control_chars(text: str) -> str:
    r"""Make control characters visible, and those that turn the direction of what follows.

    These have no looks of their own, but can make a text read as another one (Unicode Technical
    Report 36, "Bidirectional Text Spoofing"). Halves of surrogate pairs cannot be sent at all.

    Examples
    --------
    >>> harmless("a\0b"), harmless("invoice\u202efdp.exe")
    ('a␀b', 'invoice�fdp.exe')
    """
    return text.translate(_HARMLESS)


_UNKNOWN = "\ufffd"
_PICTURES = 0x2400  # where Unicode has pictures of the control characters
_LINES = {ord("\n"), ord("\t")}
_HARMLESS = {
    **{code: chr(_PICTURES + code) for code in range(0x20) if code not in _LINES},
    **dict.fromkeys(range(0x7F, 0xA0), _UNKNOWN),
    **dict.fromkeys((0x061C, 0x200E, 0x200F), _UNKNOWN),
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), _UNKNOWN),
    **dict.fromkeys(range(0xD800, 0xE000), _UNKNOWN),
}


def document(title: str, style: str, body: Iterable[Fragment]) -> str:
    """Write a whole page.

    Parameters
    ----------
    title
        What the browser calls it.
    style
        Its style sheet, the only one that it takes.
    body
        What is seen.
    """
    known = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{known}'; img-src data:; form-action 'none'"
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
