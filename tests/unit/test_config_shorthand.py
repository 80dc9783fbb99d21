"""Recipes and lists: what they stand for, what wins over them, and in which words mistakes are refused."""

import jsonschema
import pytest
from test_config import ROOT, problems

from certflow.config import load
from certflow.config.files import merged
from certflow.config.schema import schema


@pytest.fixture
def raw():
    """The project's own configuration, free to be changed."""
    return merged([ROOT / "config.yaml"])


def test_a_recipe_is_what_was_written_once(raw):
    written = {"epochs": 20, "batch": 64, "lr": 0.05, "schedule": "one_cycle", "nesterov": True}
    assert raw["recipes"]["quick"] == written
    raw["methods"]["spelt"] = {"kind": "macer", **written, "epochs": 12, "noises": 4, "lbd": 4}
    study = load(raw)
    assert study.methods["spelt"] == study.methods["macer-quick"]


def test_own_settings_win_and_recipes_may_start_from_recipes(raw):
    raw["recipes"] |= {"base": {"epochs": 3, "batch": 8}, "middle": {"recipe": "base", "batch": 16}}
    raw["methods"]["mine"] = {"kind": "gaussian", "recipe": "middle", "lr": 0.5}
    assert dict(load(raw).methods["mine"].own) == {"epochs": 3, "batch": 16, "lr": 0.5}


def test_a_mapping_within_an_entry_starts_from_a_recipe(raw):
    raw["recipes"]["range"] = {"sigma_range": [0.0, 1.0], "epochs": 3}
    raw["denoisers"] = {"d": {"kind": "dncnn", "train": {"recipe": "range", "epochs": 4}}}
    train = load(raw).denoisers["d"].train
    assert (list(train.sigma_range), train.epochs) == ([0.0, 1.0], 4)


@pytest.mark.parametrize(("section", "name"), [("experiments", "digits"), ("methods", "macer-quick")])
def test_what_contains_itself_is_refused_with_its_place(raw, section, name):
    raw[section][name]["own"] = raw[section][name]
    line = f"{section}.{name}: holds a value that is not a plain YAML value (Circular reference detected)"
    assert problems(raw)[0] == line


def test_experiments_name_lists(raw):
    raw["lists"]["few"] = [0.25, 0.5]
    raw["experiments"]["digits"] |= {"radii": "few", "noises": "levels"}
    digits = load(raw).experiments["digits"]
    assert (digits.radii, digits.noises) == ([0.25, 0.5], ["gauss-0.25", "gauss-0.50", "gauss-1.00"])


@pytest.mark.parametrize(
    ("section", "name", "fields", "expected"),
    [
        (
            "methods",
            "m",
            {"kind": "gaussian", "recipe": "quik"},
            "methods.m.recipe: there is no recipe 'quik'; known: ",
        ),
        (
            "methods",
            "m",
            {"kind": "gaussian", "recipe": ["quick"]},
            "methods.m.recipe: there is no recipe ['quick']; known",
        ),
        ("methods", "m", {"kind": "gaussian", "recipe": None}, "methods.m.recipe: there is no recipe None; known: "),
        ("methods", "m", {"kind": "gaussian", "recipe": "wrong"}, "methods.m.epochz: no such setting"),
        ("methods", "m", {"kind": "gaussian", "recipe": "loop"}, "methods.m.recipe: 'loop' refers to itself"),
        (
            "denoisers",
            "d",
            {"kind": "dncnn", "train": {"recipe": "no"}},
            "denoisers.d.train.recipe: there is no recipe",
        ),
        ("recipes", "r", {"kind": "gaussian"}, "recipes.r.kind: does not belong in a recipe"),
        ("recipes", "r", [1], "recipes.r: must be a mapping of settings, got [1]"),
        ("lists", "l", "gaussian", "lists.l: must be a list, got 'gaussian'"),
        (
            "experiments",
            "e",
            {"recipe": "digits", "radii": "no"},
            "experiments.e.radii: there is no list 'no'; known: ",
        ),
        ("experiments", "e", {"recipe": "digits", "methods": "gaussian"}, "for one entry write [gaussian]"),
    ],
)
def test_mistakes_are_refused_with_their_place(raw, section, name, fields, expected):
    raw["recipes"] |= {"wrong": {"epochz": 3}, "loop": {"recipe": "loop"}}
    raw.setdefault(section, {})[name] = fields
    found = problems(raw)
    assert any(expected in line for line in found)
    places = [line.partition(": ")[0] for line in found]
    assert len(set(places)) == len(places), found


def test_editors_accept_recipes_and_still_miss_what_is_missing(raw):
    check = jsonschema.Draft202012Validator(schema())
    assert check.is_valid(raw)
    assert check.is_valid({"methods": {"m": {"kind": "external", "recipe": "r"}}})
    assert not check.is_valid({"methods": {"m": {"kind": "external"}}})
    assert not check.is_valid({"experiments": {"e": {"recipe": "r", "noises": 3}}})
