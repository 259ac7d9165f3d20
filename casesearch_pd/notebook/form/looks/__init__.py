"""How every part of the form looks and speaks."""
