"""l1 radii of noise that falls exponentially with the l1 norm, by the differential method (Yang et al. 2020).

They are those that noise of the l-infinity norm has in l-infinity, scale and all.
"""

from certflow.noise.radii.kinds.exp_inf import error_linf, time_linf
from certflow.noise.radii.two_bounds import by_flow

NORMS = {"l1": by_flow(time_linf, error=error_linf)}
