"""What the public functions do where nothing is said: users rely on it, and results would change with it.

Defaults of kinds are part of docs/reference.md, which is made from the code.
"""

import inspect
from importlib import import_module

import pytest

VOTES = {"seed": 0, "indices": None, "quiet": False}
CALLS = {**VOTES, "batch_size": None, "arithmetic": "float", "quantize_input": False}
CHECKPOINT = {
    "classes": None,
    "shape": None,
    "mean": None,
    "sd": None,
    "weights": "auto",
    "outputs": None,
    "leave_out": (),
}
DEFAULTS = {
    "certflow": {
        "SmoothedClassifier": {"classes": None, "device": None, "inference": None},
        "SmoothedClassifier.certify": {**CALLS, "n0": None, "n": None, "alpha": None, "norm": None},
        "SmoothedClassifier.certify_arrays": {"n": None},
        "SmoothedClassifier.predict": {**CALLS, "n": 1000, "alpha": 0.001},
        "SmoothedClassifier.votes": VOTES,
        "load_checkpoint": {"model": "cifar_resnet110", "device": "cpu", **CHECKPOINT},
    },
    "certflow.certify": {
        "certificate_table": {"source": None},
        "dsrs_radius": {"tol": 1e-6, "eps_num": None},
        "gaussian_radius": {"u": None, "slack": 0.0},
        "gaussian_radius_two_bound": {"u": None, "u_other": None, "slack": 0.0},
        "one_bound_radius": {"u": None, "slack": 0.0, "norm": "l2"},
        "predict_classes": {"alpha": 0.001},
        "radius": {"dim": None},
        "two_bounds_pay": {"dim": None, "norm": "l2"},
    },
    "certflow.stats": {
        "bootstrap_interval": {"level": 0.95, "resamples": 2000, "seed": 0},
        "estimated_accuracy": {"draws": 100_000, "alpha": 0.001},
        "spearman": {"seed": 0},
    },
}


def functions(name: str, member) -> dict:
    """A function under its name; of a class what makes it, under the class's, and its public methods."""
    if inspect.isclass(member) and issubclass(member, Exception):
        return {}
    if not inspect.isclass(member):
        return {name: member} if callable(member) else {}
    methods = {key: value for key, value in vars(member).items() if inspect.isfunction(value) and key[0] != "_"}
    return {name: member, **{f"{name}.{key}": value for key, value in methods.items()}}


@pytest.mark.parametrize("package", DEFAULTS)
def test_defaults_of_public_functions_are_those_that_users_know(package):
    module, found = import_module(package), {}
    for name in module.__all__:
        for key, function in functions(name, getattr(module, name)).items():
            given = inspect.signature(function).parameters.values()
            found[key] = {one.name: one.default for one in given if one.default is not one.empty}
    assert {key: values for key, values in found.items() if values} == DEFAULTS[package]
