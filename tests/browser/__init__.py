"""Tests in a real browser; harness.py says how one is written."""
