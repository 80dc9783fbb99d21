"""Kinds of attacks, one file each."""
