"""The networks themselves. Submodules are named as in the field's published code, so that its checkpoints fit as they are."""
