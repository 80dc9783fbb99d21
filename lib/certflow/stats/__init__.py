"""Exact binomial statistics and the bootstrap. Needs numpy and scipy, imported at first use; of certflow, `kinds.exports`."""

from certflow.kinds.exports import exports

_HOMES = {
    "LARGEST_N": "limits",
    "anytime_failure": "anytime",
    "anytime_lower": "anytime",
    "bootstrap_interval": "bootstrap",
    "clopper_pearson_failure": "clopper_pearson",
    "clopper_pearson_lower": "clopper_pearson",
    "clopper_pearson_upper": "clopper_pearson",
    "estimated_accuracy": "estimate",
    "failures_quantile": "table_bound",
    "mcnemar": "paired",
    "plug_in_failure": "clopper_pearson",
    "prediction_p_value": "prediction",
    "effective_u": "randomized",
    "least_draws": "limit",
    "randomized_failure": "randomized",
    "randomized_upper": "randomized",
    "smallest_count_to_certify": "clopper_pearson",
    "smallest_n_to_certify": "limits",
    "smallest_n_to_certify_anytime": "anytime",
    "smallest_n_to_predict": "limits",
    "spearman": "ranks",
    "true_accuracy_lower_bound": "table_bound",
}

__all__ = sorted(_HOMES)
__getattr__ = exports(__name__, _HOMES)
