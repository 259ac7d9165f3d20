"""Amazon Connect Cases: its operations, filters and responses."""
