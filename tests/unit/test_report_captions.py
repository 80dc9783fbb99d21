"""Captions render from the configuration and say what is shown, how many draws, and how often it may be wrong."""

import copy
from functools import cache
from types import SimpleNamespace

import pytest
from jinja2 import Environment, StrictUndefined

from certflow.config import Run, load
from certflow.config.files import merged
from certflow.config.parse import sections

CAPTIONS = ("table", "corruptions", "certificate_curves", "p_a", "cost", "certificate", "report", "estimate")
WILDCARDS = {
    "experiment": "mnist",
    "dataset": "mnist",
    "model": "lenet",
    "method": "gaussian",
    "noise": "gauss-0.25",
    "seed": "0",
    "images": "every20",
    "sampler": "cohen",
    "certificate": "np",
}


def configured(root):
    """The configuration, with an estimate of every table."""
    return merged([root / "config.yaml", root / "configs/preview.yaml"])


@cache
def specs(root, experiment="mnist"):
    """What the rules of a report have as their parameter, and what certifying one of its tables has."""
    study = load(configured(root))
    names = {key: value for key, value in WILDCARDS.items() if key not in ("experiment", "seed")}
    certificate = study.certificate_spec(Run(**names, seed=int(WILDCARDS["seed"])))
    return {**study.preview_spec(experiment), **study.report_spec(experiment), **certificate}


def rendered(root, name, norm="l2", alpha=0.001):
    """The caption as Snakemake renders it, of radii in a norm; a name that does not exist is an error."""
    config = sections(configured(root), [])
    spec = copy.deepcopy(specs(root)) | {"norm": norm}
    for certificate in (spec["certificate"], *(run["spec"]["certificate"] for run in spec["runs"])):
        certificate |= {"norm": norm, "alpha": alpha}
    context = SimpleNamespace(
        wildcards=SimpleNamespace(**WILDCARDS),
        params=SimpleNamespace(spec=spec),
        config=config,
    )
    text = (root / f"docs/captions/{name}.rst").read_text()
    return (
        Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        .from_string(text)
        .render(snakemake=context)
    )


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_render_and_state_alpha_and_how_to_read(root, name):
    text = rendered(root, name)
    assert "0.001" in text and "**every20**" in text and "{" not in text
    assert name == "report" or "How to read it" in text


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_are_valid_restructured_text(root, name):
    core = pytest.importorskip("docutils.core")
    settings = {"report_level": 1, "halt_level": 1}
    body = core.publish_parts(rendered(root, name), writer="html", settings_overrides=settings)["body"]
    assert "<strong>" in body and "**" not in body


def test_the_table_states_draws_and_published_counterpart(root):
    text = rendered(root, "table")
    assert "100 draws to choose the class and n = 100000 fresh ones" in text
    assert "published numbers for mnist, lenet" in text


@pytest.mark.parametrize("name", ["table", "certificate_curves", "corruptions", "certificate"])
def test_radii_are_in_the_norm_of_the_certificates(root, name):
    assert "l2" in rendered(root, name)
    inside = rendered(root, name, norm="linf")
    assert "l-infinity" in inside and "l2 " not in inside


@pytest.mark.parametrize("name", ["table", "certificate"])
def test_certificates_that_counted_every_outcome_promise_no_probability(root, name):
    assert "probability" in rendered(root, name)
    counted = rendered(root, name, norm="l1", alpha=0.0)
    assert "every outcome of the noise" in counted and "with probability at" not in counted
