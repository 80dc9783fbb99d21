"""What the rules ask of the library: the rule of every method, and files and specifications by the names in a path."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from certflow.config import load
from certflow.config.files import merged
from certflow.kinds.registry import kinds, spec_class
from certflow.workflow.inputs import Inputs
from certflow.workflow.making import RULES, made_by
from certflow.workflow.specs import Specs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def study():
    return load(merged(ROOT / name for name in ("config.yaml", "configs/denoised.yaml", "configs/corruptions.yaml")))


def names(**more):
    return SimpleNamespace(dataset="cifar10", model="resnet110", noise="gauss-0.50", seed="3", **more)


@pytest.mark.parametrize("kind", kinds("method"))
def test_a_rule_makes_every_kind_of_method(kind):
    cls = spec_class("method", kind)
    assert (cls.composed, cls.learning(cls.example)) in RULES


def test_each_method_is_made_by_one_rule(study):
    made = [name for rule in RULES.values() for name in made_by(study, rule)]
    assert sorted(made) == sorted(study.methods)
    assert {rule for rule in RULES.values() if made_by(study, rule)} >= {"train_model", "train_denoised"}


def test_a_users_own_files_are_marked_and_those_of_the_workflow_are_not(study):
    inputs = Inputs(study, own=lambda path: f"own {path}", here=Path)
    assert inputs.part_models(names(method="gaussian")) == []
    tables = inputs.ingredients(names(method="catrs"))
    assert [path for path in tables.values() if isinstance(path, str)] == [
        "results/predictions/cifar10/resnet110/base.npz"
    ]
    sources = inputs.corruption_sources(names(corruptions="cifar10-c", corruption="fog"))
    assert sources and all(path.startswith("own ") for path in sources)


def test_names_of_copies_are_those_of_a_manifest(study):
    inputs = Inputs(study, own=str, here=Path)
    assert inputs.copies_manifest(names(images="all")) == {}
    copied = next(name for name in study.image_sets() if name not in study.images)
    (path,) = inputs.copies_manifest(names(images=copied)).values()
    assert path.startswith("results/data/cifar10/") and path.endswith(".json")


def test_the_state_of_files_that_are_gone_lies_where_a_module_has_its_results(tmp_path):
    """Else it would seem to have changed, and the data would be prepared again from files that are not there."""
    folders = spec_class("dataset", "image_folder")(classes=2, shape=[3, 4, 4], root=str(tmp_path / "gone"))
    state = tmp_path / "robustness/results/data/mine.source"
    state.parent.mkdir(parents=True)
    state.write_text("as it was")
    study = SimpleNamespace(datasets={"mine": folders})
    inputs = Inputs(study, own=str, here=lambda path: tmp_path / "robustness" / path)
    assert inputs.source_state(SimpleNamespace(dataset="mine")) == "as it was"
    state.unlink()
    assert inputs.source_state(SimpleNamespace(dataset="mine")) == ""


def test_specifications_hold_the_seed_as_a_number(study):
    assert Specs(study).model(names(method="gaussian"))["seed"] == 3
