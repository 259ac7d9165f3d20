"""What is told before and while a search runs."""
