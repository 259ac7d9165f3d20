"""Files for other programs, in which no text is read as a formula."""
