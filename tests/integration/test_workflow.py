"""The real Snakefile on a tiny experiment: it runs, a second run does nothing, and a change re-runs what depends on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from holds import Holds
from PIL import Image
from safetensors.torch import load_file
from snakemakes import snakemake_process

from certflow.data.base import DataInfo
from certflow.files.artefact import read_arrays
from certflow.kinds.registry import spec_class
from certflow.models import build

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "tiny.yaml"
REPORT = "results/reports/tiny.html"
PER_METHOD = ["train_model", "presample_counts", "plan_draws", "sample_counts", "merge_counts", "certify_radii"]
PER_EXPERIMENT = ["write_table", "plot_figures", "write_report"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test that uses `finished` waits for its run


def snakemake(folder: Path, *arguments: str, overlays: tuple[Path, ...] = (), check: bool = True) -> str:
    """Everything that snakemake printed; `folder` is the working directory, so results are apart from the project's."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    targets = [argument for argument in arguments if not argument.startswith("-")]
    files = ["--configfile", str(TINY), *map(str, overlays)]
    result = snakemake_process("--cores", "2", "--directory", str(folder), *flags, *files, "--", *targets)
    output = result.stdout + result.stderr
    assert not check or result.returncode == 0, output
    return output


def planned(output: str) -> dict[str, int]:
    """Rule → number of jobs, from a dry run."""
    if "Nothing to be done" in output:
        return {}
    table = output.rpartition("Job stats:")[2]
    return {
        rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE) if rule not in ("total", "all")
    }


def after(finished: Path, tmp_path: Path, change: dict) -> dict[str, int]:
    """What a dry run would do once the configuration has changed."""
    overlay = tmp_path / "change.yaml"
    overlay.write_text(yaml.safe_dump(change))
    return planned(snakemake(finished, "-n", REPORT, overlays=(overlay,)))


def test_every_promised_file_is_there_and_holds_something(finished):
    names = [f"results/tables/tiny.{ending}" for ending in ("tex", "md", "tsv")]
    names += [
        f"results/figures/tiny/{f}.{e}" for f in ("certificate_curves", "p_a", "cost") for e in ("pdf", "svg", "png")
    ]
    for name in [*names, REPORT]:
        assert (finished / name).stat().st_size > 300, name
    summary = pd.read_csv(finished / "results/tables/tiny.tsv", sep="\t")
    assert list(summary["method"]) == ["one", "two"]
    assert (summary["n_images"] == 30).all()


def test_every_job_has_a_log_and_a_benchmark(finished):
    for kind in ("logs", "benchmarks"):
        rules = {path.name for path in (finished / "results" / kind).iterdir()}
        assert rules == {"prepare_data", *PER_METHOD, *PER_EXPERIMENT}, kind
    logs = list((finished / "results/logs").rglob("*.log"))
    assert len(logs) == 1 + 2 * len(PER_METHOD) + len(PER_EXPERIMENT)
    assert all("done in" in path.read_text() for path in logs)


def test_certificate_tables_are_readable_as_the_field_reads_them(finished):
    table = pd.read_csv(next((finished / "results/certificates").rglob("tiny.tsv")), delimiter="\t")
    assert list(table.columns[:6]) == ["idx", "label", "predict", "radius", "correct", "time"]
    assert 0 <= (table["correct"] & (table["radius"] >= 0.1)).mean() <= 1
    assert list(table["idx"]) == list(range(30))


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in snakemake(finished, REPORT)


def test_a_methods_parameter_reruns_exactly_its_descendants(finished, tmp_path):
    change = {"methods": {"two": {"lr": 0.06}}}
    assert after(finished, tmp_path, change) == dict.fromkeys(PER_METHOD + PER_EXPERIMENT, 1)


def test_alpha_reruns_certify_and_report_only(finished, tmp_path):
    change = {"certificates": {"tiny": {"alpha": 0.01}}}
    assert after(finished, tmp_path, change) == {"certify_radii": 2, **dict.fromkeys(PER_EXPERIMENT, 1)}


def test_plot_settings_rerun_the_plot_and_the_page_that_shows_it(finished, tmp_path):
    change = {"experiments": {"tiny": {"plot": {"title": "Tiny"}}}}
    assert after(finished, tmp_path, change) == {"plot_figures": 1, "write_report": 1}


def test_the_number_of_draws_keeps_weights_and_stage_1(finished, tmp_path):
    change = {"samplers": {"tiny": {"n": 400}}}
    expected = {rule: 2 for rule in ("plan_draws", "sample_counts", "merge_counts", "certify_radii")}
    assert after(finished, tmp_path, change) == {**expected, **dict.fromkeys(PER_EXPERIMENT, 1)}


def test_shards_are_jobs_of_their_own(finished):
    output = snakemake(finished, "-n", "--forceall", "--set-scatter=shards=3", REPORT)
    assert planned(output)["sample_counts"] == 6


def test_snakemakes_own_report_needs_no_network(finished):
    snakemake(finished, "--report=report.zip", REPORT)
    with zipfile.ZipFile(finished / "report.zip") as archive:
        names = "\n".join(archive.namelist())
    assert "report.html" in names and "certificate_curves" in names


def test_a_users_own_checkpoint_gives_the_counts_of_the_same_weights(finished, tmp_path):
    trained = finished / "results/train/digits/tiny/one/gauss-0.25/seed0/model.safetensors"
    state = {f"module.{name}": tensor for name, tensor in load_file(trained).items()}
    torch.save({"epoch": 2, "state_dict": state}, tmp_path / "checkpoint.pth.tar")
    overlay = tmp_path / "mine.yaml"
    method = {"kind": "external", "checkpoint": str(tmp_path / "checkpoint.pth.tar")}
    overlay.write_text(yaml.safe_dump({"methods": {"mine": method}, "experiments": {"tiny": {"methods": ["mine"]}}}))
    counts = "results/sample/digits/tiny/{}/gauss-0.25/seed0/tiny/tiny.npz"
    snakemake(finished, counts.format("mine"), overlays=(overlay,))
    mine, theirs = (read_arrays(finished / counts.format(method))[0]["counts"] for method in ("mine", "one"))
    assert np.array_equal(mine, theirs)
    assert "accuracy" in (finished / "results/logs/import_model/digits/tiny/mine/gauss-0.25/seed0.log").read_text()


def test_images_that_only_look_changed_cost_their_preparation_if_that_is_made_first(tmp_path):
    """Of test images alone, which a finished model needs."""
    places = [tmp_path / "tree" / "test" / str(number % 2) / f"{number}.png" for number in range(4)]
    for number, place in enumerate(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 60 * number).save(place)
    model = spec_class("model", "small_conv")()
    torch.save(build(model, DataInfo(2, (1, 8, 8))).state_dict(), tmp_path / "own.pth")
    folder = {"kind": "image_folder", "classes": 2, "shape": [1, 8, 8], "only": "test", "root": str(tmp_path / "tree")}
    mine = {"methods": ["own"], "dataset": "mine", "model": "small_conv", "images": "some", "noises": ["gauss-0.25"]}
    overlay = tmp_path / "mine.yaml"
    change = {
        "datasets": {"mine": folder},
        "images": {"some": {}},
        "models": {"small_conv": {"kind": "small_conv"}},
        "methods": {"own": {"kind": "external", "checkpoint": str(tmp_path / "own.pth")}},
        "experiments": {"mine": {**yaml.safe_load(TINY.read_text())["experiments"]["tiny"], **mine}},
    }
    overlay.write_text(yaml.safe_dump(change))
    counts = "results/presample/mine/small_conv/own/gauss-0.25/seed0/some/tiny.npz"
    snakemake(tmp_path, counts, overlays=(overlay,))
    for other in ("README.txt", "test/README.txt", "test/0/.DS_Store", "more/0/0.png"):  # which nobody reads
        (tmp_path / "tree" / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / other).touch()
    assert planned(snakemake(tmp_path, "-n", counts, overlays=(overlay,))) == {}
    (tmp_path / "tree").rename(tmp_path / "gone")  # a disk that is not mounted
    assert planned(snakemake(tmp_path, "-n", counts, overlays=(overlay,))) == {}
    (tmp_path / "gone").rename(tmp_path / "tree")
    places[0].touch()
    all_three = dict.fromkeys(("prepare_data", "import_model", "presample_counts"), 1)
    assert planned(snakemake(tmp_path, "-n", counts, overlays=(overlay,))) == all_three
    snakemake(tmp_path, "results/data/mine.json", overlays=(overlay,))
    assert planned(snakemake(tmp_path, "-n", counts, overlays=(overlay,))) == {}
    Image.new("L", (8, 8), 1).save(places[0])
    snakemake(tmp_path, "results/data/mine.json", overlays=(overlay,))
    assert planned(snakemake(tmp_path, "-n", counts, overlays=(overlay,))).keys() == all_three.keys() - {"prepare_data"}


def test_results_made_elsewhere_stand_in_the_same_table(finished, tmp_path):
    table = pd.read_csv(next((finished / "results/certificates/digits/tiny/two").rglob("tiny.tsv")), sep="\t")
    theirs = tmp_path / "their {experiment} $x*.tsv"  # Snakemake would fill in what stands in braces
    table[["idx", "label", "predict", "radius", "correct", "time"]].to_csv(theirs, sep="\t", index=False)
    overlay = tmp_path / "foreign.yaml"
    foreign = [{"label": "theirs", "noise": "gauss-0.25", "tables": [str(theirs)]}]
    tiny = yaml.safe_load(TINY.read_text())["experiments"]["tiny"]
    overlay.write_text(yaml.safe_dump({"experiments": {"both": {**tiny, "foreign": foreign}}}))
    snakemake(finished, "results/tables/both.tex", overlays=(overlay,))
    summary = pd.read_csv(finished / "results/tables/both.tsv", sep="\t").set_index("method")
    assert list(summary.index) == ["one", "two", "theirs"]
    assert summary.loc["theirs", "acr"] == summary.loc["two", "acr"]
    theirs.write_text(theirs.read_text().replace("idx", "number"))
    refused = snakemake(finished, "-n", "results/tables/both.tex", overlays=(overlay,), check=False)
    assert "experiments.both.foreign.0.tables.0: " in refused and "line 1: lacks the columns idx" in refused


def test_fine_tuning_needs_its_file_and_starts_again_when_that_changes(finished, tmp_path):
    checkpoint = tmp_path / "gauss-0.25.safetensors"
    overlay = tmp_path / "tuned.yaml"
    overlay.write_text(yaml.safe_dump({"methods": {"two": {"start_from": f"{tmp_path}/{{noise}}.safetensors"}}}))
    table = "results/tables/tiny.tex"
    refused = snakemake(finished, "-n", table, overlays=(overlay,), check=False)
    assert f"methods.two.start_from: {checkpoint} is not there" in refused
    trained = finished / "results/train/digits/tiny/{}/gauss-0.25/seed0/model.safetensors"
    checkpoint.write_bytes(Path(str(trained).format("one")).read_bytes())
    again = planned(snakemake(finished, "-n", table, overlays=(overlay,)))
    assert again == {**dict.fromkeys(PER_METHOD, 1), "write_table": 1}


def test_a_classifier_is_fine_tuned_behind_a_denoiser_that_stays_as_it_is(finished, tmp_path):
    range_ = {"sigma_range": [0.0, 0.6], "epochs": 1, "batch": 512, "schedule": "one_cycle"}
    tuned = {
        "kind": "ftcadis",
        "start": "behind",
        "noises": 2,
        "steps": 1,
        "epochs": 1,
        "batch": 256,
        "warmup_epochs": 0,
    }
    change = {
        "denoisers": {"tiny": {"kind": "drunet", "widths": [4, 4, 4, 4], "blocks": 1, "train": range_}},
        "methods": {
            "behind": {"kind": "denoised", "denoiser": "tiny", "classifier": {"method": "one", "noise": "gauss-0.25"}},
            "tuned": tuned,
        },
        "experiments": {"tiny": {"methods": ["behind", "tuned"]}},
    }
    overlay = tmp_path / "tuned.yaml"
    overlay.write_text(yaml.safe_dump(change))
    model = "results/train/digits/tiny/{}/gauss-0.25/seed0/model.safetensors"
    ran = planned(snakemake(finished, model.format("tuned"), overlays=(overlay,)))
    assert ran == {"train_denoiser": 1, "compose_denoised": 1, "finetune_denoised": 1}
    before, after = (load_file(finished / model.format(method)) for method in ("behind", "tuned"))
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys() and moved == {"classifier"}
    log = (finished / model.format("tuned")).with_name("training.tsv").read_text()
    assert "train_masked" in log.splitlines()[0]


@pytest.mark.parametrize(
    ("target", "train", "methods"), [("cifar10", "resnet110", 7), ("mnist", "lenet", 7), ("imagenet", "resnet50", 1)]
)
def test_papers_tables_are_targets_of_the_default_configuration(tmp_path, target, train, methods):
    output = snakemake(tmp_path, "-n", f"results/tables/{target}.tex")
    jobs, per_noise = planned(output), dict.fromkeys(PER_METHOD, 3 * methods)
    if methods > 1:  # CAT-RS learns from the votes of a Gaussian model of its own
        per_noise |= {"train_model": 3 * methods + 1, "smooth_predictions": 1, "merge_predictions": 1}
    assert jobs == {"prepare_data": 1, **per_noise, "write_table": 1}
    assert output.count(f"results/train/{target}/{train}/") > 0


def test_a_broken_configuration_is_refused_with_every_problem_and_no_traceback(tmp_path):
    overlay = tmp_path / "broken.yaml"
    overlay.write_text("methods: {one: {epoks: 3}}\nnoises: {gauss-0.25: {sigma: -1}}\n")
    output = snakemake(tmp_path, "-n", REPORT, overlays=(overlay,), check=False)
    assert "methods.one.epoks: no such setting; known: " in output
    assert "noises.gauss-0.25.sigma: " in output
    assert "Traceback" not in output and not (tmp_path / "results").exists()


def test_the_workflow_passes_snakemakes_linter():
    result = snakemake_process("--lint")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_table_whose_job_was_not_seen_to_end_is_made_again(finished, tmp_path):
    folder, tables = tmp_path / "copy", [f"results/tables/tiny.{ending}" for ending in ("tex", "tsv", "md")]
    shutil.copytree(finished, folder)
    for table in tables:
        (folder / ".snakemake/incomplete" / urlsafe_b64encode(table.encode()).decode()).write_text("null")
    lock = folder / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("")
    assert planned(snakemake(folder, "-n", REPORT)) == {} and (folder / tables[0]).exists()  # another one is at work
    lock.unlink()
    assert planned(snakemake(folder, "-n", REPORT)) == {"write_table": 1, "write_report": 1}


def test_what_a_job_finishes_after_its_snakemake_was_killed_is_kept(finished, tmp_path):
    folder, target = tmp_path / "copy", "results/tables/tiny.tsv"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / ".snakemake")
    for later in ("plan", "sample", "certificates", "tables", "logs", "benchmarks"):
        shutil.rmtree(folder / "results" / later)
    overlay = tmp_path / "overlay.yaml"
    change = {"samplers": {"tiny": {"n": 6000}}, "experiments": {"tiny": {"methods": ["one"]}}}
    overlay.write_text(yaml.safe_dump(change))
    shard = folder / "results/sample/digits/tiny/one/gauss-0.25/seed0/tiny/tiny/shards/1-of-1.npz"
    begun, holds = shard.with_name(f"{shard.name}.partial"), Holds(tmp_path / "holds")
    holds.ask(begun)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--directory", str(folder)]
    command += ["--configfile", str(TINY), str(overlay), "--", target]
    environment = {**os.environ, **holds.environment, "CERTFLOW_SAVE_SECONDS": "0"}
    with open(tmp_path / "output", "w") as output, group_of(command, environment, output) as killed:
        wait_for(lambda: holds.stopped(begun) or killed.poll() is not None, 200)
        assert holds.stopped(begun), (tmp_path / "output").read_text()
        killed.kill()
        killed.wait()
        assert not shard.exists()
        holds.release(begun)
        wait_for(shard.exists, 100)
    made = shard.stat().st_mtime_ns
    snakemake(folder, "--unlock", target, overlays=(overlay,))
    snakemake(folder, target, overlays=(overlay,))
    assert shard.stat().st_mtime_ns == made and (folder / target).exists()


@contextmanager
def group_of(command: list[str], environment: dict[str, str], output: TextIO) -> Iterator[subprocess.Popen]:
    """A command at work; in the end neither it nor any process that it has started runs, be it stopped."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(ready: Callable[[], bool], seconds: float) -> None:
    for _ in range(int(seconds * 50)):
        if ready():
            return
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")
