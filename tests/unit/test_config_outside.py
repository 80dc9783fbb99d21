"""What a configuration needs from outside itself is looked for before anything runs: names of timm, files, devices."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from certflow.config import load
from certflow.config.files import merged
from certflow.errors import ConfigError
from certflow.models.timm_names import unknown
from certflow.workflow.targets import concerned, misspelt

ROOT = Path(__file__).resolve().parents[2]
MODEL = "results/train/digits/small/{}/gauss-0.25/seed0/model.safetensors"


@pytest.fixture(scope="module")
def own():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.fixture
def raw(own):
    return copy.deepcopy(own)


def problems(raw, experiments=("digits",), concerned_by=None) -> list[str]:
    """concerned_by: targets of a command, in place of experiments."""
    try:
        load(raw, concerned=lambda study: experiments if concerned_by is None else concerned(study, concerned_by))
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "vit_tiny_patch16_224.augreg_in21k"])
def test_names_that_timm_knows_are_known_without_asking_it(name):
    code = (
        f"import sys, certflow.models.timm_names as n; assert n.unknown({name!r}) is None and 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_misspelt_model_of_timm_is_named_with_close_ones(raw):
    assert unknown("resnet18.a1_in1kk").startswith("timm has no weights 'resnet18.a1_in1kk'; close: resnet18.a1_in1k")
    raw["models"]["typo"] = {"kind": "timm", "name": "resnt18"}
    (problem,) = problems(raw)
    assert problem.startswith("models.typo.name: timm has no model 'resnt18'; close: resnet18")


def test_a_model_of_a_hub_that_may_not_be_fetched_is_looked_for_in_its_cache(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789" * 4
    theirs = raw["denoisers"]["theirs"] = {"kind": "diffusion", "hub": "some/model", "hub_revision": commit}
    raw["methods"]["behind"] = {
        "kind": "denoised",
        "denoiser": "theirs",
        "classifier": {"method": "gaussian-quick", "noise": "clean"},
    }
    raw["experiments"]["digits"]["methods"] = ["behind"]
    (line,) = problems(raw)
    assert line.startswith("denoisers.theirs.hub: some/model is not in the cache at that commit")
    (tmp_path / "models--some--model" / "snapshots" / commit).mkdir(parents=True)
    assert problems(raw) == []
    theirs["hub_revision"] = "1" * 40
    assert len(problems(raw)) == 1
    theirs["download"] = True
    assert problems(raw) == []


def test_files_are_looked_for_with_those_of_parts_and_base_classifiers(raw, tmp_path):
    raw["methods"]["mine"] = {"kind": "external", "checkpoint": f"{tmp_path}/{{noise}}.pth"}
    raw["methods"]["behind"] = {
        "kind": "denoised",
        "denoiser": "theirs",
        "classifier": {"method": "mine", "noise": "clean"},
    }
    raw["denoisers"]["theirs"] = {"kind": "dncnn", "weights": f"{tmp_path}/d.pth", "sigma_range": [0.1, 1.0]}
    raw["methods"]["guided"] = {**raw["methods"]["catrs-quick"], "predictions": "votes"}
    raw["predictions"]["votes"] = {"method": "mine", "noise": "gauss-0.25"}
    raw["methods"]["ours"] = {**raw["methods"]["gaussian-quick"], "start_from": MODEL.format("gaussian-quick")}
    raw["experiments"]["digits"]["methods"] = ["behind", "guided", "ours"]
    ending = "is not there; put it there, or correct the path"
    wanted = {
        f"methods.mine.checkpoint: {tmp_path}/clean.pth {ending}",
        f"methods.mine.checkpoint: {tmp_path}/gauss-0.25.pth {ending}",
        f"denoisers.theirs.weights: {tmp_path}/d.pth {ending}",
    }
    assert set(problems(raw)) == wanted
    assert problems(raw, experiments=()) == []
    for name in ("clean.pth", "gauss-0.25.pth", "d.pth"):
        (tmp_path / name).write_bytes(b"weights")
    assert problems(raw) == []


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("methods", "gaussian-quick"),
        ("noises", "gauss-0.25"),
        ("certificates", "np-4k"),
        ("models", "small"),
        ("datasets", "digits"),
        ("images", "digits-half"),
        ("experiments", "digits"),
    ],
)
def test_files_are_looked_for_as_far_as_entries_with_problems_let_it(raw, tmp_path, section, name):
    raw[section][name] = {**raw[section][name], "epoks": 3}
    raw["methods"]["mine"] = {"kind": "external", "checkpoint": f"{tmp_path}/mine.pth"}
    raw["experiments"]["mnist"]["methods"] = ["mine"]
    targets = ["results/tables/digits.tex", "results/tables/mnist.tex"]
    found = problems(raw, concerned_by=targets)
    assert any(line.startswith(f"{section}.{name}.epoks: ") for line in found)
    assert section == "noises" or any(line.startswith("methods.mine.checkpoint: ") for line in found)
    assert len(problems(raw, concerned_by=[*targets, MODEL.format("gaussian-quick")])) <= len(found)


def test_a_table_made_elsewhere_that_is_missing_is_told_where_its_experiment_is_asked_for(raw, tmp_path):
    raw["experiments"]["mnist"]["foreign"] = [
        {"label": "theirs", "noise": "gauss-0.25", "folder": str(tmp_path), "tables": ["t.tsv"]}
    ]
    ending = "is not there; put it there, or correct the path"
    for experiments, told in (((), []), (("digits",), []), (("digits", "mnist"), ["mnist"])):
        assert problems(raw, experiments) == [
            f"experiments.{name}.foreign.0.tables.0: {tmp_path}/t.tsv {ending}" for name in told
        ]


def test_the_content_of_files_is_part_of_what_a_model_is(raw, tmp_path):
    raw["methods"]["mine"] = {"kind": "external", "checkpoint": f"{tmp_path}/a.pth"}
    run = ("digits", "small", "mine", "gauss-0.25", 0)
    (tmp_path / "a.pth").write_bytes(b"weights")
    before = load(raw).model_spec(*run)
    assert set(before["files"]) == {"checkpoint"} and len(before["files"]["checkpoint"]) == 64
    (tmp_path / "b.pth").write_bytes(b"weights")
    raw["methods"]["mine"]["checkpoint"] = f"{tmp_path}/b.pth"
    assert load(raw).model_spec(*run) == before  # the place is no part of it
    (tmp_path / "b.pth").write_bytes(b"other weights")
    assert load(raw).model_spec(*run)["files"] != before["files"]


def test_so_is_that_of_the_folder_that_a_network_comes_from(raw, tmp_path):
    raw["models"]["theirs"] = {"kind": "hf_image", "weights": str(tmp_path), "resize": 32}
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    run = ("digits", "theirs", "gaussian-quick", "gauss-0.25", 0)
    before = load(raw).model_spec(*run)
    assert set(before["files"]) == {"model", "model.1"}
    (tmp_path / "model.safetensors").write_text("other weights")
    after = load(raw).model_spec(*run)
    assert {role for role in ("model", "model.1") if after["files"][role] != before["files"][role]} == {"model.1"}


@pytest.mark.parametrize("path", ["x" * 300, "a\0b"])
def test_names_that_no_file_can_have_are_of_files_that_are_not_there(raw, path):
    raw["experiments"]["digits"]["foreign"] = [{"label": "theirs", "noise": "gauss-0.25", "tables": [path]}]
    raw["methods"]["mine"] = {"kind": "external", "checkpoint": path}
    raw["denoisers"]["theirs"] = {"kind": "diffusion", "weights": path}
    raw["methods"]["behind"] = {
        "kind": "denoised",
        "denoiser": "theirs",
        "classifier": {"method": "mine", "noise": "clean"},
    }
    raw["experiments"]["digits"]["methods"] = ["mine", "behind"]
    ending = f"{path} is not there; put it there, or correct the path"
    keys = ("experiments.digits.foreign.0.tables.0", "methods.mine.checkpoint", "denoisers.theirs.weights")
    assert {f"{key}: {ending}" for key in keys} == set(problems(raw))


@pytest.mark.parametrize("path", ["a/{x}.tsv", "{noise}/b", "a{}.tsv"])
def test_braces_are_refused_where_snakemake_would_see_them(raw, path):
    raw["methods"]["mine"] = {"kind": "external", "checkpoint": "a/{{x}}.pth"}
    raw["denoisers"]["theirs"] = {"kind": "dncnn", "weights": path, "sigma_range": [0.1, 1.0]}
    ending = "has braces, which Snakemake takes for wildcards; rename the file or folder"
    keys = ("methods.mine.checkpoint", "denoisers.theirs.weights")
    assert all(any(line.startswith(f"{key}: {ending}") for line in problems(raw)) for key in keys)


@pytest.mark.parametrize(
    ("section", "ending"),
    [("samplers", ".npz"), ("predictions", ".npz"), ("datasets", ".json"), ("datasets", ".source")],
)
def test_an_entry_called_like_a_file_of_another_is_refused(raw, section, ending):
    name = next(iter(raw[section]))
    raw[section][name + ending] = raw[section][name]
    assert (
        f"{section}.{name}{ending}: its folder would be called like a file of {section}.{name}; rename one"
        in problems(raw)
    )
    del raw[section][name]
    assert not any("its folder" in line for line in problems(raw))


def test_a_device_that_cannot_be_is_told_with_the_rest(raw, monkeypatch):
    monkeypatch.setenv("CERTFLOW_DEVICE", "foo")
    assert problems(raw) == ["CERTFLOW_DEVICE: 'foo' is not a device; write cpu, cuda, or such as cuda:0,cuda:1"]
    load(raw)  # a command that runs nothing does not look


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([], ["digits"]),
        (["all"], ["digits"]),
        (["results/tables/mnist.tex"], ["mnist"]),
        (["results/tables/mnist-c.tsv"], ["mnist-c"]),
        (["sub/results/reports/digits-full.html"], ["digits-full"]),
        (["results/figures/mnist/cost.pdf", "results/corruptions/mnist-c.md"], ["mnist-c", "mnist"]),
        (["results/data/digits.json"], []),
        ([MODEL.format("digits-mse")], ["digits-denoised"]),
        ([MODEL.format("gaussian-quick")], ["digits", "digits-full"]),
    ],
)
def test_a_command_is_about_the_experiments_of_its_targets(targets, expected):
    files = [ROOT / name for name in ("config.yaml", "configs/corruptions.yaml", "configs/denoised.yaml")]
    assert concerned(load(merged(files)), targets) == expected


@pytest.mark.parametrize(
    ("target", "name", "meant"),
    [
        ("results/tables/digit.tex", "digit", "digits"),
        ("results/figures/mnits/radius.pdf", "mnits", "mnist"),
        ("results/reports/digits-ful.html", "digits-ful", "digits-full"),
        ("results/tables/digits.tex", None, None),
        ("results/figures/mnist/radius.pdf", None, None),
        ("results/data/digits.json", None, None),
        ("theirs/results/tables/digit.tex", None, None),
        ("all", None, None),
    ],
)
def test_a_page_of_a_misspelt_experiment_is_named(raw, target, name, meant):
    found = misspelt(load(raw), [target])
    if name is None:
        assert found == []
    else:
        (line,) = found
        assert line.startswith(f"{target}: there is no experiment or diagnosis {name!r}; known: digits, ")
        assert line.endswith(f"; did you mean {meant}?")
