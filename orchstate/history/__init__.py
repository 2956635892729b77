"""The past: changes, revisions, differences, any moment."""
