"""One file per kind; found by listing this folder (see certflow.kinds.registry)."""
