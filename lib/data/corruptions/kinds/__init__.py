"""One file per kind; found by listing this folder (see lib.registry)."""
