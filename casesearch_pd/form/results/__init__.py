"""What is shown after a search."""
