"""The arithmetic of double sampling (DSRS), in float64 and without torch. Entry points: `certflow.certify`."""
