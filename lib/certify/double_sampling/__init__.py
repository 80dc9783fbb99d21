"""The arithmetic of double sampling randomised smoothing (DSRS), in float64 and without torch. Entry points: `lib.certify`."""
