"""The only rooms that run a query."""
