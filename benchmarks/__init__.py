"""orchstate beside the bare metal: one module per area, both sides measured in the same run."""
