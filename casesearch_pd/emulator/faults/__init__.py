"""Faults that the emulator can add to its replies."""
