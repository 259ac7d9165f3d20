"""The controls that a question is edited with."""
