"""Read cases: plan a query, fetch its pages, and return the rows in one of several forms."""
