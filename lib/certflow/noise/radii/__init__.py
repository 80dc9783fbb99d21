"""Radii by noise and norm."""
