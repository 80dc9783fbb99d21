"""What Snakemake's command line says as text is read as YAML reads it, where the settings want no text."""

import copy

import pytest
import yaml
from snakemake.cli import parse_config
from snakemake.utils import update_config

from certflow.config.text import read_text

FILE = {
    "methods": {"two": {"kind": "gaussian", "epochs": 1, "lr": 0.05}, "adv": {"kind": "smoothadv"}},
    "noises": {"gauss-0.25": {"kind": "gaussian", "sigma": 0.25}},
    "models": {"tiny": {"kind": "small_conv"}},
    "images": {"tiny": {"max": 30}},
    "samplers": {"tiny": {"kind": "fixed", "n": 300}, "two": {"kind": "double", "q": {"family": "truncated"}}},
    "experiments": {"tiny": {"noises": ["gauss-0.25"], "radii": [0.1], "title": "Tiny", "seeds": [0]}},
}


def read(*entries: str, wrap=lambda config: config) -> dict:
    """The configuration as it stands after `--config entries...`; `wrap`: what a workflow that uses this one gives to it."""
    given = parse_config(list(entries))
    config = copy.deepcopy(FILE)
    update_config(config, wrap(given))
    read_text(config, given)
    return config


@pytest.mark.parametrize(
    ("entry", "path", "value"),
    [
        ("methods={two: {epochs: 3}}", "methods.two.epochs", 3),
        ("methods={two: {lr: 0.5}}", "methods.two.lr", 0.5),
        ("methods={two: {lr: 1e-3}}", "methods.two.lr", 0.001),
        ("methods={two: {epochs: 010}}", "methods.two.epochs", "010"),
        ("methods={two: {lr: 0:30}}", "methods.two.lr", "0:30"),
        ("methods={two: {nesterov: true}}", "methods.two.nesterov", True),
        ("methods={two: {schedule: one_cycle}}", "methods.two.schedule", "one_cycle"),
        ("methods={two: {start_from: 7}}", "methods.two.start_from", "7"),
        ("methods={two: {start_from: null}}", "methods.two.start_from", None),
        ("methods={new: {kind: gaussian, epochs: 4}}", "methods.new.epochs", 4),
        ("models={tiny: {inference: {fold: false}}}", "models.tiny.inference.fold", False),
        ("noises={gauss-0.25: {sigma: 1}}", "noises.gauss-0.25.sigma", 1),
        ("images={tiny: {max: null}}", "images.tiny.max", None),
        ("samplers={two: {q: {rule: 0.4}}}", "samplers.two.q.rule", 0.4),
        ("samplers={two: {q: {rule: x2}}}", "samplers.two.q.rule", "x2"),
        ("experiments={tiny: {radii: [0.1, 1]}}", "experiments.tiny.radii", [0.1, 1]),
        ("experiments={tiny: {seeds: [0, 1]}}", "experiments.tiny.seeds", [0, 1]),
        ("experiments={tiny: {noises: [0.5]}}", "experiments.tiny.noises", ["0.5"]),
        ("experiments={tiny: {title: 2024}}", "experiments.tiny.title", "2024"),
        ("methods={two: {epochs: many}}", "methods.two.epochs", "many"),
        ("methods={two: {epoks: 3}}", "methods.two.epoks", "3"),
        ("methods={none: {epochs: 3}}", "methods.none.epochs", "3"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_text_of_the_command_line(entry, path, value, nested):
    if nested:  # as a workflow does that uses this one as a module
        section, _, text = entry.partition("=")
        found = read(f"certflow={{{section}: {text}}}", wrap=lambda config: config["certflow"])
    else:
        found = read(entry)
    for key in path.replace("gauss-0.25", "gauss-0,25").split("."):
        found = found[key.replace(",", ".")]
    assert found == value and type(found) is type(value)


def test_text_of_a_file_stays_text():
    config = copy.deepcopy(FILE)
    config["methods"]["two"]["epochs"] = "3"
    read_text(config, parse_config(["methods={two: {lr: 0.5}}"]))
    assert config["methods"]["two"]["epochs"] == "3"
    before = yaml.safe_dump(FILE)
    read_text(config := copy.deepcopy(FILE), {})
    assert yaml.safe_dump(config) == before
