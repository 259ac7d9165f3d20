"""A copy of the cases on this machine's disk: read as any source is, kept fresh by increments."""
