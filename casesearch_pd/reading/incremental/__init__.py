"""Read what changed since an earlier read, and update its DataFrame."""
