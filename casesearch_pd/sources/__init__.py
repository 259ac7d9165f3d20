"""The services that cases are read from, and the interface that reading uses."""
