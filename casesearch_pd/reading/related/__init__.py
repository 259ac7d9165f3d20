"""Read what belongs to cases: their history and related items, case by case."""
