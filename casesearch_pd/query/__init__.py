"""Asking: pure, no IO, no frames."""
