"""Laws of the length and the angle of spherical noise: quadrature in float64, without torch."""
