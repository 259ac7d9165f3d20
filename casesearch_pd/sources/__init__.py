"""The services: the only rooms that know a wire."""
