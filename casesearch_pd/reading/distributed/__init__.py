"""Read cases as a dask DataFrame, on one machine or several."""
