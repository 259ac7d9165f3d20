"""Write cases to files, which are replaced at the end or not at all."""
