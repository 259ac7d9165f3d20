"""The filter language: expressions, their binding to a schema, and their pushdown; no IO."""
