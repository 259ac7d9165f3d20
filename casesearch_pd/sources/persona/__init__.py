"""Persona: its case search over HTTP."""
