"""Persona: its operations, filters and responses."""
