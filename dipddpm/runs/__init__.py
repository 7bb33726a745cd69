"""A fit and a sample as runs: from the typed configuration to files."""
