"""Forms in a real browser."""
