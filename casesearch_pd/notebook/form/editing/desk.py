"""What all parts of one editor work with: the source, its labels, the zone, the lock, the looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casesearch_pd.notebook.form.editing.edits import Edits
from casesearch_pd.notebook.form.editing.kit import Kit
from casesearch_pd.notebook.form.model.checks import Finding, check, offered
from casesearch_pd.notebook.form.model.labels import FieldLabels, distinct
from casesearch_pd.reading.plan import bearings

if TYPE_CHECKING:
    from collections.abc import Callable

    from casesearch_pd.notebook.form.model.tree import Rule
    from casesearch_pd.query.filters import Binding
    from casesearch_pd.query.schema import Field
    from casesearch_pd.sources.contract import Source

__all__ = ["Desk"]


class Desk:
    """What the parts of an editor share.

    Parameters
    ----------
    source
        Whose fields are offered; they are discovered by now or here, once.
    tz
        The zone of naive times.
    on_change
        Called after each edit.
    """

    def __init__(self, source: Source, tz: str, on_change: Callable[[], None] | None) -> None:
        self.source = source
        self.edits = Edits(on_change)
        self.kit = Kit()
        self.labels = FieldLabels(source.schema)
        self._tz = bearings(source.schema, tz).tz
        self._offered: dict[str, dict[str, str]] = {}
        self._options: dict[str, tuple[str, ...]] = {}

    @property
    def tz(self) -> str:
        """The zone of naive times."""
        return self._tz

    @tz.setter
    def tz(self, tz: str) -> None:
        self._tz = bearings(self.source.schema, tz).tz

    def binding(self) -> Binding:
        """Take the bearings: what names and times mean at this moment."""
        return bearings(self.source.schema, self._tz)

    def check(self, rule: Rule) -> Finding:
        """Say what there is to say of a rule."""
        return check(rule, self.source, self.binding())

    def offered(self, name: str, field: Field) -> dict[str, str]:
        """List the operators for a field, with what they are called."""
        if name not in self._offered:
            self._offered[name] = offered(name, field, self.source, self.binding())
        return self._offered[name]

    def options(self, field: Field) -> tuple[str, ...]:
        """Tell what the options of a select are called, in their order."""
        if field.column not in self._options:
            told = [item.label + ("" if item.active else _RETIRED) for item in field.options]
            values = [item.value for item in field.options]
            self._options[field.column] = tuple(distinct(told, values))
        return self._options[field.column]

    def accepts(self, rule: Rule) -> bool:
        """Tell whether a rule can be asked, unfinished as it may be, and warns of nothing."""
        found = self.check(rule)
        return not found.wrong and not found.warned


_RETIRED = " (inactive)"
