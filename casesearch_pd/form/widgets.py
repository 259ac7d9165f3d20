"""The style sheet of the form, and the widgets that its parts share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import anywidget
import ipywidgets as widgets
from traitlets import Unicode

from casesearch_pd.render.html import element, fragment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from xml.etree.ElementTree import Element

__all__ = [
    "FILTER_CSS",
    "STYLE_SHEET",
    "CopyButton",
    "Messages",
    "Tone",
    "button",
    "checkbox",
    "dropdown",
    "error_text",
    "row",
    "set_options",
    "show_errors",
    "style_sheet",
]

# The browser counts the rows. The labels of the controls in a row would repeat in each row, so they
# are left to screen readers.
FILTER_CSS = """
.cs-filter, .cs-read-options { overflow: visible; width: auto; color: var(--jp-ui-font-color1);
  --cs-row-line: var(--jp-border-color2, #c9ced4); --cs-row-soft: var(--jp-layout-color2, #f0f2f4);
  --cs-row-quiet: var(--jp-ui-font-color2, #5b6470); }
.cs-filter { counter-reset: cs-row; }
.cs-filter .widget-box, .cs-read-options .widget-box { overflow: visible; width: auto; }
.cs-filter .cs-group { border: 1px solid var(--cs-row-line); border-radius: 6px;
  padding: 6px 8px; margin: 0; }
.cs-filter .cs-group .cs-group { border-left: 4px solid var(--jp-brand-color1, #1976d2);
  margin: 4px 0; }
.cs-filter .cs-group .cs-group .cs-group { border-left-color: var(--jp-warn-color1, #b45309); }
.cs-filter .cs-group .cs-group .cs-group .cs-group { border-left-color: var(--jp-brand-color2); }
.cs-filter .cs-group-head, .cs-filter .cs-row, .cs-filter .cs-values, .cs-filter .cs-buttons,
.cs-filter .cs-adding, .cs-filter .cs-any, .cs-filter .cs-pair, .cs-filter .cs-time {
  display: flex; flex-flow: row wrap; align-items: center; gap: 4px 6px; }
.cs-filter .cs-members { display: flex; flex-flow: column; gap: 2px; }
.cs-filter .cs-row { counter-increment: cs-row; padding: 3px 0; align-items: flex-start;
  border-top: 1px solid var(--cs-row-line); }
.cs-filter .cs-row::before { content: counter(cs-row); min-width: 1.6em; line-height: 28px;
  text-align: right; color: var(--cs-row-quiet); font-variant-numeric: tabular-nums; }
.cs-filter .widget-inline-hbox, .cs-filter .cs-row .widget-html { width: auto; margin: 0;
  min-width: 0; }
.cs-filter .cs-field { flex: 1 1 13em; max-width: 20em; }
.cs-filter .cs-operator { flex: 0 1 15em; }
.cs-filter .cs-values { flex: 2 1 15em; align-items: flex-start; }
.cs-filter .cs-values > * { flex: 1 1 9em; }
.cs-filter .cs-values > .cs-preset { flex: 0 1 9em; }
.cs-filter .cs-values > .cs-pair { flex: 1 1 16em; }
.cs-filter .cs-value, .cs-filter .cs-value-2 { flex: 1 1 8em; }
.cs-filter .cs-time > .cs-day { flex: 0 0 9em; }
.cs-filter .cs-pair > .cs-time { flex: 1 1 16em; }
.cs-filter .cs-pair > .cs-time:first-child { flex-basis: 100%; }
.cs-filter .cs-kind { flex: 0 0 6em; }
.cs-filter .cs-any { align-items: flex-start; }
.cs-filter .cs-choices, .cs-filter .cs-lines { flex: 1 1 14em; gap: 3px; }
.cs-filter .cs-lines > *, .cs-filter .cs-choices > * { flex: 0 0 auto; }
.cs-filter :is(select, input, textarea), .cs-read-options :is(select, input, textarea) {
  width: 100%; min-width: 0; box-sizing: border-box; }
.cs-filter input[type=checkbox], .cs-read-options input[type=checkbox] { width: auto; }
.cs-filter :is(.cs-row, .cs-combinator) label.widget-label {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; margin: 0; padding: 0; }
.cs-filter .widget-inline-hbox { position: relative; }
.cs-filter .cs-tall, .cs-filter .cs-kept { height: auto; }
.cs-filter .cs-buttons { margin-left: auto; flex: 0 0 auto; gap: 2px; flex-wrap: nowrap; }
.cs-filter .cs-sign { font-size: 0; width: 28px; min-width: 28px; padding: 0; margin: 0; }
.cs-filter .cs-sign::before { font-size: 15px; line-height: 28px; vertical-align: top; }
.cs-filter .cs-sign.cs-up::before { content: "\\2191"; content: "\\2191" / ""; }
.cs-filter .cs-sign.cs-down::before { content: "\\2193"; content: "\\2193" / ""; }
.cs-filter .cs-sign.cs-duplicate::before { content: ""; display: inline-block; width: 7px;
  height: 7px; border: 1.5px solid; margin: 11px 3px 0 0;
  box-shadow: 3px -3px 0 -1.5px var(--jp-layout-color2, #eee), 3px -3px 0 0; }
.cs-filter .cs-sign.cs-remove::before { content: "\\2715"; content: "\\2715" / ""; }
.cs-filter .cs-row > .cs-message { order: 9; flex: 1 0 100%; padding-left: 2.2em; }
.cs-filter .cs-row > .cs-message:not(:has([role])) { display: none; }
.cs-filter .cs-message .widget-html-content, .cs-read-options .cs-message .widget-html-content {
  line-height: 1.4; overflow-wrap: anywhere; white-space: normal; height: auto; }
.cs-filter .cs-not, .cs-filter .cs-combinator { width: auto; }
.cs-filter .cs-not label { display: flex; align-items: center; gap: 5px; width: auto; margin: 0; }
.cs-filter .cs-not input { margin: 0; }
.cs-filter .cs-combinator::after { content: "these"; padding: 0 8px 0 6px; line-height: 28px; }
.cs-filter { container-type: inline-size; }
@container (max-width: 860px) {
  .cs-filter .cs-field, .cs-filter .cs-operator { flex: 1 1 12em; max-width: none; }
  .cs-filter .cs-values { flex: 1 1 calc(100% - 13em); margin-left: calc(1.6em + 6px); }
}
.cs-filter .cs-add-row, .cs-filter .cs-add-group { width: auto; }
.cs-todo, .cs-checked { color: var(--cs-row-quiet); }
.cs-wrong { color: var(--jp-error-color1, #c62828); }
.cs-warned { color: var(--jp-warn-color0, #8a5300); }
.cs-wrong::before { content: "\\2716\\00a0"; }
.cs-warned::before { content: "\\26A0\\00a0"; }
.cs-read-options { display: grid; gap: 8px 18px; align-items: start; margin: 10px 0;
  grid-template-columns: repeat(auto-fill, minmax(min(15em, 100%), 1fr)); }
.cs-read-options .cs-option { min-width: 0; }
.cs-read-options :is(.cs-option-sort, .cs-option-columns) { grid-column: 1 / -1; }
.cs-read-options .cs-choices { width: auto; max-width: 38em; }
.cs-read-options .cs-order { display: flex; flex-flow: row wrap; gap: 6px 18px; }
.cs-read-options .cs-sort-slot { display: flex; flex: 1 1 20em; max-width: 24em; gap: 4px 8px;
  align-items: flex-end; }
.cs-read-options .cs-sort { flex: 1 1 12em; }
.cs-read-options .cs-descending { flex: 0 0 auto; width: auto; margin: 0; height: 28px; }
.cs-read-options .cs-descending label { display: flex; align-items: center; gap: 5px;
  width: auto; margin: 0; }
.cs-read-options .cs-descending input { margin: 0; }
.cs-read-options .widget-inline-hbox:not(.cs-descending) { width: 100%; margin: 0; height: auto;
  flex-flow: column; align-items: stretch; }
.cs-read-options .widget-inline-hbox > :is(select, input, textarea) { flex: 0 0 auto; }
.cs-read-options .widget-inline-hbox > label.widget-label { width: auto; height: auto;
  text-align: left; line-height: 1.6; color: var(--cs-row-quiet); }
.cs-read-options .cs-sort > select { flex-basis: 28px; }
.cs-read-options .cs-find ~ .cs-columns > label.widget-label { position: absolute; height: 1px;
  overflow: hidden; clip-path: inset(50%); }
[data-jp-theme-light="false"] :is(.cs-filter, .cs-read-options) { color-scheme: dark;
  --jp-widgets-dropdown-arrow: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
viewBox='0 0 18 18'%3E%3Cpath d='M5 6l4 4 4-4' fill='none' stroke='%23ccc' stroke-width='2'/%3E\
%3C/svg%3E"); }
"""

_COLOURS = """
.cs-form, .cs-results {
  --cs-ink: var(--jp-ui-font-color1, #1b1f24);
  --cs-quiet: var(--jp-ui-font-color2, #5b6470);
  --cs-paper: var(--jp-layout-color0, #fff);
  --cs-soft: var(--jp-layout-color2, #f0f2f4);
  --cs-line: var(--jp-border-color2, #c9ced4);
  --cs-brand: var(--jp-brand-color1, #1976d2);
  --cs-warn: var(--jp-warn-color1, #b45309);
  --cs-error: var(--jp-error-color1, #c62828);
  color: var(--cs-ink);
}
"""

# Text for screen readers only; rows that wrap on narrow screens; messages.
_SHARED = """
.cs-hidden { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }
.cs-controls { display: flex; flex-flow: row wrap; align-items: center; gap: 4px 8px;
  overflow: visible; }
.cs-controls > * { flex: 0 1 auto; min-width: 0; }
.cs-form .widget-html-content, .cs-results .widget-html-content { line-height: 1.45; }
.cs-note[role], .cs-error[role], .cs-done[role] { margin: 4px 0; padding: 4px 10px;
  border-left: 4px solid; background: var(--cs-soft); overflow-wrap: anywhere;
  white-space: pre-wrap; }
.cs-note[role] { border-color: var(--cs-warn); }
.cs-error[role] { border-color: var(--cs-error); }
.cs-done[role] { border-color: var(--cs-brand); }
.cs-quiet { color: var(--cs-quiet); }
.cs-form :is(button, select, input, textarea, summary, a, [tabindex]):focus-visible,
.cs-results :is(button, select, input, textarea, summary, a, [tabindex]):focus-visible {
  outline: 2px solid var(--cs-brand); outline-offset: 1px; }
"""

_RESULTS = """
.cs-results { overflow: visible; }
.cs-results-heading { font-size: 1.1em; font-weight: 600; }
.cs-results .widget-tab-contents { overflow: visible; }
.cs-page .wide { position: relative; overflow: auto; max-height: 32em;
  border: 1px solid var(--cs-line); }
.cs-page table { border-collapse: separate; border-spacing: 0; font-size: 0.92em;
  color: var(--cs-ink); background: var(--cs-paper); font-variant-numeric: tabular-nums; }
.cs-page caption { position: absolute; clip-path: inset(50%); }
.cs-page th, .cs-page td { padding: 3px 10px; text-align: left; vertical-align: top;
  white-space: nowrap; font-weight: 400; border-bottom: 1px solid var(--cs-line); }
.cs-page thead th { position: sticky; top: 0; font-weight: 600; background: var(--cs-soft); }
.cs-page tbody tr:hover > * { background: var(--cs-soft); }
.cs-page .number { text-align: right; }
.cs-page .long { max-width: 24em; overflow: hidden; text-overflow: ellipsis; }
.cs-code pre, .cs-request pre, .cs-command pre { margin: 4px 0; padding: 8px 12px; overflow: auto;
  max-height: 32em; color: var(--cs-ink); background: var(--cs-soft);
  font-family: var(--jp-code-font-family, monospace); font-size: 0.95em; line-height: 1.4; }
.cs-command pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.cs-grid-place .dt-layout-table { overflow-x: auto; }
.cs-table-columns { align-items: flex-start; }
.cs-table-columns-list select { min-width: 16em; }
.cs-chart figure { margin: 8px 0; }
.cs-chart img { max-width: 100%; height: auto; background: #fff; }
.cs-copy { display: inline-flex; align-items: center; gap: 8px; }
.cs-export-link a { color: var(--jp-content-link-color, #1565c0); }
"""

_RUN = """
.cs-more { margin: 8px 0 4px; }
.cs-sentence { margin: 6px 0; font-size: 1.05em; }
.cs-line { flex-flow: row wrap; align-items: center; gap: 4px 10px; overflow: visible; }
.cs-line > * { margin: 0; }
.cs-bar { flex: 0 1 14em; min-width: 8em; }
.cs-bar .widget-label { position: absolute; width: 1px; overflow: hidden; clip-path: inset(50%); }
.cs-status { flex: 1 1 18em; font-variant-numeric: tabular-nums; }
.cs-run { overflow: visible; }
"""

STYLE_SHEET = _COLOURS + _SHARED + FILTER_CSS + _RUN + _RESULTS


def style_sheet() -> widgets.HTML:
    """Return the widget that adds the style sheet to the page; a form needs one."""
    widget = widgets.HTML(fragment(element("style", STYLE_SHEET)))
    widget.add_class("cs-style")
    return widget


_AUTO = {"width": "auto"}


def row(*children: widgets.Widget) -> widgets.HBox:
    """Return a row of controls, which wraps on narrow screens."""
    box = widgets.HBox(children)
    box.add_class("cs-controls")
    return box


def button(description: str, css: str, on_click: Callable[[], None]) -> widgets.Button:
    """Return a button with a CSS class."""
    control = widgets.Button(description=description, layout=_AUTO)
    control.add_class(css)
    control.on_click(lambda _: on_click())
    return control


def checkbox(description: str, css: str) -> widgets.Checkbox:
    """Return a checkbox with a CSS class."""
    control = widgets.Checkbox(description=description, indent=False, layout=_AUTO)
    control.add_class(css)
    return control


def dropdown(
    description: str, css: str, options: Sequence[tuple[str, Any]] = ()
) -> widgets.Dropdown:
    """Return a dropdown list with a CSS class."""
    control = widgets.Dropdown(
        options=options,
        description=description,
        style={"description_width": "auto"},
        layout=_AUTO | {"max_width": "100%"},
    )
    control.add_class(css)
    return control


def set_options(control: widgets.Dropdown, options: Sequence[tuple[str, Any]]) -> None:
    """Replace the options; the selected one stays selected, or else the first one is."""
    values, selected = [value for _, value in options], control.value
    control.options = options
    # A list whose options were empty would keep its selection empty.
    control.value = selected if selected in values else next(iter(values), None)


Tone = Literal["note", "error", "done", "quiet", "plain"]


class Messages(widgets.HTML):  # type: ignore[misc]  # untyped
    """A place for messages, none of which is read as markup.

    Parameters
    ----------
    css
        The CSS class of the place.
    """

    def __init__(self, css: str) -> None:
        super().__init__()
        self.add_class(css)

    def show(
        self,
        sentences: Iterable[str] | str = (),
        tone: Tone = "note",
        *,
        notes: Iterable[str] = (),
    ) -> None:
        """Replace the messages; without arguments there are none.

        Parameters
        ----------
        sentences
            The messages; empty ones are left out.
        tone
            Their style.
        notes
            More messages, in the style of notes.
        """
        messages = [sentences] if isinstance(sentences, str) else list(sentences)
        lines = [*_lines(messages, tone), *_lines(notes, "note")]
        self.value = fragment(*lines) if lines else ""


def _lines(sentences: Iterable[str], tone: Tone) -> Iterator[Element]:
    role = "alert" if tone == "error" else "status"
    return (element("div", one, class_=f"cs-{tone}", role=role) for one in sentences if one)


def error_text(error: BaseException) -> str:
    """Return the message of an error, or its type if it has none.

    >>> error_text(KeyError("this needs the column 'status'")), error_text(ValueError())
    ("this needs the column 'status'", 'ValueError')
    """
    # str() of a KeyError is the repr of its message.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text or type(error).__name__


@contextmanager
def show_errors(messages: Messages) -> Iterator[None]:
    """Show the error of a callback, which the event loop of widgets would hide."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        messages.show(error_text(error), "error")


# Browsers allow the clipboard to pages of https and of this machine only, and some not even then.
# Selecting a text and copying it is allowed to a script during a click.
_SCRIPT = """
function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "cs-hidden";
  area.setAttribute("readonly", "");
  document.body.append(area);
  area.select();
  const success = document.execCommand("copy");
  area.remove();
  return success;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function render({ model, el }) {
  const button = document.createElement("button");
  const status = document.createElement("span");
  button.type = "button";
  button.className = "lm-Widget jupyter-widgets jupyter-button widget-button";
  status.setAttribute("role", "status");
  status.setAttribute("aria-live", "polite");
  el.classList.add("cs-copy");
  el.dataset.lmSuppressShortcuts = "true";  // Enter presses the button instead of running a cell
  const show = () => { button.textContent = model.get("description"); };
  const clear = () => { status.textContent = ""; };
  button.addEventListener("click", async () => {
    const success = await copyText(model.get("text"));
    status.textContent = success ? "copied" : "select the text to copy it";
    button.focus();
  });
  model.on("change:description", show);
  model.on("change:text", clear);
  show();
  el.append(button, status);
  return () => { model.off("change:description", show); model.off("change:text", clear); };
}

export default { render };
"""


class CopyButton(anywidget.AnyWidget):
    """A button that copies a text exactly as it is.

    Parameters
    ----------
    description
        The label of the button.
    text
        What it copies; halves of surrogate pairs, which cannot be sent, become ``?``.
    """

    _esm = _SCRIPT

    description = Unicode("Copy").tag(sync=True)
    text = Unicode("").tag(sync=True)

    def __init__(self, description: str = "Copy", text: str = "") -> None:
        super().__init__(description=description)
        self.show(text)

    def show(self, text: str) -> None:
        """Set the text that the next click copies."""
        self.text = text.encode("utf-8", "replace").decode("utf-8")
