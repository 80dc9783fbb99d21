"""Specifications by kind: the base records, the registry that finds kinds, names that load on demand."""
