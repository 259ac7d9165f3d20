"""What a form asks, free of widgets: its rows, what they mean, how they are written."""
