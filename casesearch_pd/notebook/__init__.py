"""Looking: knows no service."""
