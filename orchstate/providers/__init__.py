"""Provider definitions: providers as data, from the catalog and from the user's own files."""
