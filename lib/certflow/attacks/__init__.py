"""Attacks: images near given ones that a model gets wrong, the counterpart from above of what certificates say from below."""
