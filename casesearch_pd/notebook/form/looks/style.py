"""How the form looks: one style sheet for all of it, in the colours of the notebook's theme.

Every class begins with ``cs-``. Colours are JupyterLab's own variables, which Voila, Notebook and
VS Code set too; where nobody sets them, the second value of each holds.
"""

from __future__ import annotations

import ipywidgets as widgets

from casesearch_pd.notebook.form.looks.style_rows import ROWS
from casesearch_pd.notebook.markup import element, fragment

__all__ = ["STYLE", "style"]

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

# Words that only a screen reader needs; rows that break where there is little room; messages.
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

STYLE = _COLOURS + _SHARED + ROWS + _RUN + _RESULTS


def style() -> widgets.HTML:
    """Make the widget that brings the style sheet to the page; one is enough for a form."""
    made = widgets.HTML(fragment(element("style", STYLE)))
    made.add_class("cs-style")
    return made
