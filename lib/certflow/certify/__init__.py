"""From class counts to certified radii. Needs no torch; pandas and scipy are imported at first use."""

from certflow.kinds.exports import exports

_HOMES = {
    "CountsError": "counts",
    "certificate_table": "table",
    "dsrs_radius": "double_sampling.radius",
    "gaussian_radius": "radii",
    "gg_np_radius": "double_sampling.radius",
    "gaussian_radius_two_bound": "radii",
    "one_bound_radius": "radii",
    "predict_classes": "predict",
    "radius": "radii",
    "two_bounds_pay": "radii",
    "read_field_table": "field_table",
}

__all__ = sorted(_HOMES)
__getattr__ = exports(__name__, _HOMES)
