"""Arithmetic of the planners: how many draws an image deserves, from its stage-1 count. Torch-free."""
