"""DataFrames of cases: typed columns from pages, frames from columns, Arrow tables from frames."""
