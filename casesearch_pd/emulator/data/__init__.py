"""The cases: their schema, generation, store and related items."""
