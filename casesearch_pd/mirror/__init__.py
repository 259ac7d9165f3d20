"""A local copy of a service's cases in a DuckDB file: read like any source, synced by changes."""

try:
    import duckdb as duckdb  # checked once, for every module of the package
except ImportError as error:
    raise ImportError("a mirror needs DuckDB: pip install 'casesearch_pd[mirror]'") from error
