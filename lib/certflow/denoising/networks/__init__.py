"""Denoising networks, with the names of weights that published files use."""
