"""Fetch the pages of a plan and turn them into DataFrames: the only part of `reading` with IO."""
