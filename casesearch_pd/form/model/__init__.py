"""The form without its widgets: the tree of rules, its meaning, its code and its sentences."""
