"""What a user is told, as a widget: text in, a sentence that screen readers read out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import ipywidgets as widgets

from casesearch_pd.notebook.markup import element, fragment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from xml.etree.ElementTree import Element

__all__ = ["Messages", "Tone", "in_words", "telling"]

Tone = Literal["note", "error", "done", "quiet", "plain"]


class Messages(widgets.HTML):  # type: ignore[misc]  # untyped
    """A place for sentences; none of them is ever taken for markup.

    Parameters
    ----------
    name
        The stable class of the place.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_class(name)

    def tell(
        self,
        sentences: Iterable[str] | str = (),
        tone: Tone = "note",
        *,
        notes: Iterable[str] = (),
    ) -> None:
        """Replace what stands there; nothing clears it.

        Parameters
        ----------
        sentences
            What is told.
        tone
            How.
        notes
            What should be known besides.
        """
        said = [sentences] if isinstance(sentences, str) else list(sentences)
        lines = [*_lines(said, tone), *_lines(notes, "note")]
        self.value = fragment(*lines) if lines else ""


def _lines(sentences: Iterable[str], tone: Tone) -> Iterator[Element]:
    role = "alert" if tone == "error" else "status"
    return (element("div", one, class_=f"cs-{tone}", role=role) for one in sentences if one)


def in_words(error: BaseException) -> str:
    """Say what went wrong; a KeyError puts its message in quotes, which nobody wants to read.

    >>> in_words(KeyError("this needs the column 'status'")), in_words(ValueError())
    ("this needs the column 'status'", 'ValueError')
    """
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return said or type(error).__name__


@contextmanager
def telling(place: Messages) -> Iterator[None]:
    """Tell what goes wrong in a callback: nobody would see it raised."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the user is told
        place.tell(in_words(error), "error")
