"""Setups: a store's configurations as one secret-free file, out and in."""
