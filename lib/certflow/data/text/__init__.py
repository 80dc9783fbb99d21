"""Texts: files of them, and how they become tokens."""
