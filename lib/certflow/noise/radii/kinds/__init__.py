"""One file per kind of noise, named as it; found by listing this folder (see certflow.noise.radii)."""
