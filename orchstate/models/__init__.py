"""Documents: what is stored, as frozen values."""
