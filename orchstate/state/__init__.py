"""The observable present: traits, records, transactions, undo, events."""
