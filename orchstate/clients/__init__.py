"""Calls to providers: a config's SDK client, connection check, model list and answers."""
