"""What is taken from earlier runs: nothing of other settings, whatever Snakemake remembers; and nothing is made twice."""

import shutil
from base64 import urlsafe_b64encode
from pathlib import Path

import numpy as np
import pytest
import yaml
from snakemakes import snakemake_process
from test_workflow import PER_EXPERIMENT, PER_METHOD, REPORT, ROOT, TINY, planned, snakemake

from certflow.files.artefact import read_arrays, read_provenance

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TABLE, NAMES = "results/tables/tiny.md", "digits/tiny/two/gauss-0.25/seed0"
CERTIFICATE = f"results/certificates/{NAMES}/tiny/tiny/tiny.tsv"
MODEL = f"results/train/{NAMES}/model.safetensors"
FOREIGN = [{"label": "theirs", "noise": "gauss-0.25", "folder": "their", "tables": ["table.tsv"]}]
ADVERSARIAL = {"kind": "smoothadv", "epochs": 3, "noises": 2, "steps": 1}


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """Finished results that a test may change, with the times of their files."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def overlay(folder: Path, content: dict) -> tuple[Path]:
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(content))
    return (path,)


def files(folder: Path) -> dict[str, int]:
    """Every file of the results, with the time of its last change."""
    return {str(path): path.stat().st_mtime_ns for path in (folder / "results").rglob("*") if path.is_file()}


def forget(folder: Path, how: str) -> tuple[str, ...]:
    """Make Snakemake forget, or not look at, how files were made; flags for the runs that follow."""
    if how == "no .snakemake":
        shutil.rmtree(folder / ".snakemake")
    if how == "--cleanup-metadata":
        paths = [str(path.relative_to(folder)) for path in (folder / "results").rglob("*") if path.is_file()]
        where = ("--cores", "1", "--directory", str(folder), "--configfile", str(TINY))
        snakemake_process(*where, "--cleanup-metadata", *paths)
        assert not [path for path in (folder / ".snakemake/metadata").rglob("*") if path.is_file()]
    return ("--rerun-triggers=mtime",) if how == "--rerun-triggers mtime" else ()


@pytest.mark.parametrize("how", ["no .snakemake", "--cleanup-metadata", "--rerun-triggers mtime"])
def test_a_table_of_another_methods_model_is_refused_and_the_remedy_helps(copy, tmp_path, how):
    flags = forget(copy, how)
    (copy / TABLE).unlink()
    changed = overlay(tmp_path, {"methods": {"two": ADVERSARIAL}})
    output = snakemake(copy, *flags, TABLE, overlays=changed, check=False)
    assert f"{CERTIFICATE}: was made from another spec (" in output
    assert "method.epochs: file has 1, asked for 3" in output and "method.kind: file has 'gaussian'" in output
    assert f"run again with --forcerun {MODEL}, or give" in output and not (copy / TABLE).exists()
    if how != "no .snakemake":
        return
    snakemake(copy, *flags, f"--forcerun={MODEL}", TABLE, overlays=changed)
    assert read_provenance(copy / CERTIFICATE).spec["method"]["kind"] == "smoothadv" and (copy / TABLE).exists()


@pytest.mark.parametrize(
    ("gone", "target", "reads", "change", "message"),
    [
        (CERTIFICATE, CERTIFICATE, f"plan/{NAMES}/tiny/tiny.tsv", {"methods": {"two": {"lr": 0.5}}}, "method.lr: "),
        (
            f"results/plan/{NAMES}/tiny/tiny.tsv",
            CERTIFICATE,
            "presample",
            {"images": {"tiny": {"max": 20}}},
            "images.max: ",
        ),
        (
            f"results/presample/{NAMES}/tiny/tiny.npz",
            f"results/presample/{NAMES}/tiny/tiny.npz",
            "train",
            {"methods": {"two": {"epochs": 2}}},
            "method.epochs: ",
        ),
        (
            f"results/sample/{NAMES}/tiny/tiny.npz",
            CERTIFICATE,
            "plan",
            {"samplers": {"tiny": {"n": 400}}},
            "sampler.n: ",
        ),
        (REPORT, REPORT, "certificates", {"models": {"tiny": {"normalise": "none"}}}, "model.normalise: "),
    ],
)
def test_every_stage_refuses_what_was_made_otherwise(copy, tmp_path, gone, target, reads, change, message):
    forget(copy, "no .snakemake")
    for path in {gone, target}:
        (copy / path).unlink()
    output = snakemake(copy, target, overlays=overlay(tmp_path, change), check=False)
    assert f"results/{reads}" in output and "was made from another spec" in output and message in output
    assert not (copy / target).exists()


def test_the_number_of_shards_reruns_nothing_and_begun_sets_are_finished(copy):
    before = files(copy)
    for flags in (("--set-scatter=shards=5",), (), ("--set-scatter=shards=2",)):
        assert planned(snakemake(copy, "-n", *flags, REPORT)) == {}
    counts = copy / f"results/sample/{NAMES}/tiny/tiny.npz"
    whole = read_arrays(counts)[0]
    assert files(copy) == before
    snakemake(copy, "--forcerun=sample_counts", "--set-scatter=shards=3", CERTIFICATE)
    assert len(list((counts.parent / "tiny/shards").glob("*-of-3.npz"))) == 3
    for flags in (("--set-scatter=shards=5",), ()):
        assert planned(snakemake(copy, "-n", *flags, CERTIFICATE)) == {}
    again = read_arrays(counts)[0]
    assert np.array_equal(again["counts"], whole["counts"]) and np.array_equal(again["idx"], whole["idx"])
    for path in (counts, counts.parent / "tiny/shards/1-of-1.npz", counts.parent / "tiny/shards/2-of-3.npz"):
        path.unlink()
    target = str(counts.relative_to(copy))
    for flags in (("--set-scatter=shards=5",), ()):
        assert planned(snakemake(copy, "-n", *flags, target)) == {"sample_counts": 1, "merge_counts": 1}
    snakemake(copy, target)
    assert np.array_equal(read_arrays(counts)[0]["counts"], whole["counts"])


def test_commands_that_only_look_change_nothing(copy):
    tables = [f"results/tables/tiny.{ending}" for ending in ("tex", "tsv", "md")]
    for table in tables:
        (copy / ".snakemake/incomplete" / urlsafe_b64encode(table.encode()).decode()).write_text("null")
    before = files(copy)
    for command in ("-n", "--list-rules", "--summary", "--lint", "--rulegraph", "--unlock"):
        snakemake(copy, command, REPORT)
        assert files(copy) == before, command
    refused = snakemake(copy, "--report=report.zip", REPORT, check=False)  # Snakemake's own check
    assert f"Incomplete files:\n{tables[0]}" in refused and files(copy) == before
    assert planned(snakemake(copy, "-n", REPORT)) == {"write_table": 1, "write_report": 1}
    snakemake(copy, REPORT)
    assert {path for path, time in files(copy).items() if before.get(path) != time} >= {
        str(copy / table) for table in tables
    }
    assert planned(snakemake(copy, "-n", REPORT)) == {}


def test_all_that_is_missing_or_misspelt_is_told_at_once_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_DEVICE", "foo")
    content = {
        "models": {"typo": {"kind": "timm", "name": "resnt18"}},
        "samplers": {"tiny.npz": {"kind": "fixed", "n": 10}},
        "methods": {
            "mine": {"kind": "external", "checkpoint": "no/{noise}.pth"},
            "two": {"start_from": "no/start.pth"},
            "odd": {"kind": "external", "checkpoint": "no/{{x}}.pth"},
        },
        "experiments": {"tiny": {"methods": ["mine", "two"], "foreign": FOREIGN}},
    }
    output = snakemake(tmp_path, "-n", TABLE, overlays=overlay(tmp_path, content), check=False)
    for line in (
        "models.typo.name: timm has no model 'resnt18'; close: resnet18",
        "experiments.tiny.foreign.0.tables.0: their/table.tsv is not there",
        "samplers.tiny.npz: its folder would be called like a file of samplers.tiny; rename one",
        "methods.odd.checkpoint: has braces, which Snakemake takes for wildcards",
        "methods.mine.checkpoint: no/gauss-0.25.pth is not there; put it there, or correct the path",
        "methods.two.start_from: no/start.pth is not there",
        "CERTFLOW_DEVICE: 'foo' is not a device; write cpu, cuda, or such as cuda:0,cuda:1",
    ):
        assert line in output, output
    assert "Traceback" not in output and not (tmp_path / "results").exists()


def test_files_of_experiments_that_are_not_asked_for_may_be_elsewhere(tmp_path):
    tiny = yaml.safe_load(TINY.read_text())["experiments"]["tiny"]
    content = {
        "methods": {"mine": {"kind": "external", "checkpoint": "no/{noise}.pth"}},
        "experiments": {"other": {**tiny, "methods": ["mine"], "foreign": FOREIGN}},
    }
    assert planned(snakemake(tmp_path, "-n", TABLE, overlays=overlay(tmp_path, content)))["train_model"] == 2
    for target in (
        "results/figures/other/p_a.svg",
        "results/train/digits/tiny/mine/gauss-0.25/seed0/model.safetensors",
    ):
        output = snakemake(tmp_path, "-n", target, overlays=overlay(tmp_path, content), check=False)
        assert "methods.mine.checkpoint: no/gauss-0.25.pth is not there" in output
        assert "experiments.other.foreign.0.tables.0: their/table.tsv is not there" in output


def test_numbers_on_the_command_line_reach_the_jobs(finished):
    change = "--config=certificates={tiny: {alpha: 0.01}}"
    assert planned(snakemake(finished, "-n", change, REPORT)) == {
        "certify_radii": 2,
        **dict.fromkeys(PER_EXPERIMENT, 1),
    }
    refused = snakemake(finished, "-n", "--config=methods={two: {epochs: many}}", REPORT, check=False)
    assert "methods.two.epochs: should be a valid integer, got 'many'" in refused


MODULE = """
configfile: {config!r}


module certflow:
    snakefile:
        {snakefile!r}
    config:
        config["certflow"]
    prefix:
        "robustness"


use rule * from certflow as certflow_*


rule all:
    default_target: True
    input:
        "robustness/results/tables/tiny.md",
"""


def module(folder: Path, *arguments: str) -> str:
    options = ("--cores", "2", "--snakefile", str(folder / "Snakefile"))
    profile = ("--workflow-profile", str(ROOT / "profiles/default"))
    result = snakemake_process(*options, *profile, *arguments, folder=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_the_workflow_is_used_as_a_module_of_another(finished, tmp_path):
    from certflow.config.files import merged

    config = {"certflow": {**merged([ROOT / "config.yaml", TINY]), "targets": []}, "theirs": 1}
    config["certflow"]["experiments"]["tiny"]["foreign"] = FOREIGN
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "their").mkdir()
    table = next((finished / "results/certificates").rglob("tiny.tsv")).read_text().splitlines()
    (tmp_path / "their/table.tsv").write_text("\n".join("\t".join(row.split("\t")[:6]) for row in table) + "\n")
    text = MODULE.format(config=str(tmp_path / "config.yaml"), snakefile=str(ROOT / "Snakefile"))
    (tmp_path / "Snakefile").write_text(text)
    jobs = planned(module(tmp_path, "-n"))
    assert jobs == {f"certflow_{rule}": 1 for rule in ("prepare_data", "write_table")} | {
        f"certflow_{rule}": 2 for rule in PER_METHOD
    }
    shutil.copytree(finished / "results", tmp_path / "robustness/results")  # the same results, under the prefix
    shutil.rmtree(tmp_path / "robustness/results/tables")
    module(tmp_path, "--rerun-triggers", "mtime")
    assert (
        "theirs" in (tmp_path / "robustness/results/tables/tiny.md").read_text() and not (tmp_path / "results").exists()
    )
    assert planned(module(tmp_path, "-n", "--set-scatter", "shards=3")) == {}
    changed = module(tmp_path, "-n", "--config", "certflow={images: {tiny: {max: 20}}}", "--forceall")
    assert planned(changed)["certflow_write_table"] == 1
