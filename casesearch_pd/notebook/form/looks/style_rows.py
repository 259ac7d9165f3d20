"""How the rows, the groups and the options of the form look: a part of its style sheet."""

from __future__ import annotations

__all__ = ["ROWS"]

# The number of a row is counted by the browser; the labels of controls in a row, which each row
# has again, are there for who hears the page only.
ROWS = """
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
