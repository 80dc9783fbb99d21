"""What an experiment costs: jobs as Snakemake counts them, hours and bytes by hand, missing rates said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from certflow.config import load
from certflow.config.files import merged
from certflow.kinds.registry import spec_class
from certflow.workflow.cost import cost_of, main, read_rates, render

ROOT = Path(__file__).resolve().parents[2]
CONFIG = merged(ROOT / name for name in ("config.yaml", "configs/corruptions.yaml", "configs/denoised.yaml"))
GRID = {
    **CONFIG["experiments"]["cifar10"],
    "methods": ["one", "two", "mine"],
    "noises": ["gauss-0.25", "gauss-1.00"],
    "seeds": [0, 1, 2],
    "certificates": ["np", "np-10k", "strict"],
}


def study(**overrides):
    methods = {
        "one": {"kind": "gaussian", "epochs": 10},
        "two": {"kind": "gaussian", "epochs": 10, "noises": 4},
        "mine": {"kind": "external", "checkpoint": "{seed}.pt"},
    }
    certificates = {**CONFIG["certificates"], "strict": {**CONFIG["certificates"]["np"], "alpha": 0.0001}}
    experiments = {**CONFIG["experiments"], "grid": {**GRID, **overrides}}
    return load(
        {
            **CONFIG,
            "methods": {**CONFIG["methods"], **methods},
            "certificates": certificates,
            "experiments": experiments,
        }
    )


def rates(tmp_path, **devices):
    path = tmp_path / "rates.yaml"
    path.write_text(yaml.safe_dump({"devices": devices}))
    return path


FAST = {"draws": {"cifar_resnet110": {"rate": 1000.0}}, "training": {"cifar_resnet110": {"rate": 500, "source": "me"}}}


def stages(plan):
    return {stage.rule: stage for stage in plan.stages}


def test_hours_are_those_counted_by_hand(tmp_path):
    plan = cost_of(study(), "grid", read_rates(own=rates(tmp_path, fast=FAST)))
    found = stages(plan)
    # 2 noises x 3 seeds, 10 epochs of 50,000 images at 500/s; the second method makes four copies of each image.
    assert found["train_model"].hours == pytest.approx(6 * 10 * 50_000 * (1 + 4) / 500 / 3600)
    assert found["train_model"].longest == pytest.approx(10 * 50_000 * 4 / 500 / 3600)
    assert (found["train_model"].jobs, found["import_model"].jobs) == (12, 6)
    # 18 models, 500 images; two certificates share the counts of one sampler.
    assert found["sample_counts"].hours == pytest.approx(18 * 500 * (100_000 + 10_000) / 1000 / 3600)
    assert found["presample_counts"].hours == pytest.approx(36 * 500 * 100 / 1000 / 3600)
    assert (found["sample_counts"].jobs, found["certify_radii"].jobs) == (36, 54)
    assert plan.hours == pytest.approx(sum(stage.hours for stage in plan.stages))


def test_native_convolutions_have_a_rate_of_their_own_if_it_is_stated(tmp_path):
    lines = {kind: {"cifar_resnet110": {**FAST[kind]["cifar_resnet110"], "native": 4000}} for kind in FAST}
    own = rates(tmp_path, plain=FAST, both=lines)
    model = {"kind": "cifar_resnet", "inference": {"native": True}}
    ours, theirs = ({"one": {"kind": "gaussian", "epochs": 10, "native": native}} for native in (True, False))

    def hours(device, method, model):
        config = {
            **CONFIG,
            "methods": {**CONFIG["methods"], **method},
            "models": {**CONFIG["models"], "resnet110": model},
        }
        config["experiments"] = {**CONFIG["experiments"], "grid": {**GRID, "methods": ["one"], "certificates": ["np"]}}
        found = stages(cost_of(load(config), "grid", read_rates(device, own)))
        return found["train_model"].hours, found["sample_counts"].hours

    trained, sampled = hours("both", theirs, {"kind": "cifar_resnet"})
    assert hours("both", ours, {"kind": "cifar_resnet"}) == pytest.approx((trained * 500 / 4000, sampled))
    assert hours("both", theirs, model) == pytest.approx((trained, sampled * 1000 / 4000))
    assert hours("plain", ours, model) == pytest.approx((trained, sampled))


def test_shards_multiply_jobs_not_hours(tmp_path):
    own = read_rates(own=rates(tmp_path, fast=FAST))
    one, eight = (stages(cost_of(study(), "grid", own, shards=n))["sample_counts"] for n in (1, 8))
    assert (eight.jobs, eight.hours) == (8 * one.jobs, one.hours)
    assert eight.longest == pytest.approx(one.longest / 8)


def test_disk_counts_checkpoints_and_decoded_images(tmp_path):
    found = stages(cost_of(study(), "grid", read_rates(own=rates(tmp_path, fast=FAST))))
    assert found["prepare_data"].size == 60_000 * 3 * 32 * 32
    assert found["train_model"].size == 12 * 4 * 1_730_714
    assert found["merge_counts"].size == 36 * 500 * 10 * 8


def test_a_missing_rate_is_said_and_never_counted_as_nothing(tmp_path, capsys):
    slow = {"slow": {"draws": {"cifar_resnet110": {"rate": 5}}}}
    plan = cost_of(study(), "grid", read_rates(own=rates(tmp_path, **slow)))
    assert plan.hours is None and stages(plan)["train_model"].hours is None
    assert "no training rate of cifar_resnet110 on slow" in render(plan) and "? device hours" in render(plan)


def test_the_command_works_without_docstrings(monkeypatch, capsys):
    """`python -OO`, or PYTHONOPTIMIZE=2, takes them away."""
    monkeypatch.setattr("certflow.workflow.cost.__doc__", None)
    assert main(["digits", "--config", str(ROOT / "config.yaml")]) == 0
    assert capsys.readouterr().out.startswith("digits: ")


def test_a_model_behind_a_denoiser_has_a_rate_of_its_own(tmp_path):
    plan = cost_of(study(), "cifar10-denoised", read_rates(own=rates(tmp_path, fast=FAST)))
    assert stages(plan)["sample_counts"].hours is None
    assert "no sampling rate of dncnn+cifar_resnet110 on fast" in plan.remarks
    names = ("dncnn", "drunet-cifar10", "ddpm-cifar10")
    behind = {f"{name}+cifar_resnet110": {"rate": 10.0} for name in names}
    known = {"draws": {**FAST["draws"], **behind}, "training": {**FAST["training"], **behind}}
    found = stages(cost_of(study(), "cifar10-denoised", read_rates(own=rates(tmp_path, fast=known))))
    # 4 noise levels, 500 images, N = 10,000: one method without a denoiser, four behind one.
    assert found["sample_counts"].hours == pytest.approx(4 * 500 * 10_000 * (1 / 1000 + 4 / 10) / 3600)
    assert (found["train_model"].jobs, found["train_denoised"].jobs, found["train_denoiser"].jobs) == (1, 8, 1)


def test_long_trainings_behind_a_denoiser_are_advised_of_too(tmp_path):
    names = ("dncnn", "drunet-cifar10", "ddpm-cifar10")
    slow = {"draws": {}, "training": {f"{name}+cifar_resnet110": {"rate": 10.0} for name in names}}
    said = render(cost_of(study(), "cifar10-denoised", read_rates(own=rates(tmp_path, slow=slow))))
    assert "give it several GPUs (--set-resources train_denoised:gpu=4)" in said and "train_model:gpu" not in said


def test_copies_are_sampled_at_every_severity(tmp_path):
    plan = cost_of(study(), "cifar10-c", read_rates(own=rates(tmp_path, fast=FAST)))
    found = stages(plan)
    # 5 methods, 100 clean images and 15 corruptions of them at 5 severities.
    assert found["sample_counts"].hours == pytest.approx(5 * 100 * (1 + 15 * 5) * 100_000 / 1000 / 3600)
    assert (found["sample_counts"].jobs, found["prepare_copies"].jobs) == (5 * 16, 15)
    assert found["prepare_copies"].size == 15 * 5 * 10_000 * 3 * 32 * 32


def test_draws_that_a_sampler_chooses_itself_can_be_stated():
    fixed = stages(cost_of(study(certificates=["np"]), "grid", read_rates()))["sample_counts"]
    fewer = stages(cost_of(study(certificates=["np"]), "grid", read_rates(), mean_draws=20_000))["sample_counts"]
    assert fewer.hours == pytest.approx(fixed.hours / 5)


def test_the_ways_to_a_table_stand_side_by_side(tmp_path):
    plan = cost_of(study(), "grid", read_rates(own=rates(tmp_path, fast=FAST)))
    found = {name: (draws, hours) for name, draws, hours, _ in plan.ways}
    assert list(found) == ["estimate", "decide", "paper"] and found["paper"][0] == 100_100
    # 18 models and 500 images, whatever their certificates.
    assert found["paper"][1] == pytest.approx(18 * 500 * 100_100 / 1000 / 3600)
    assert found["estimate"][1] < found["decide"][1] / 20
    text = render(plan)
    assert "estimated, not certified" in text and text.index("estimate ") < text.index("paper ")


def test_an_estimate_is_counted_among_the_jobs(tmp_path):
    own, preview = read_rates(own=rates(tmp_path, fast=FAST)), {"sampler": "n1000", "n": 100_000}
    without, found = (stages(cost_of(study(preview=p), "grid", own)) for p in (None, preview))
    assert found["write_estimate"].jobs == 1 and "write_estimate" not in without
    assert found["sample_counts"].jobs == without["sample_counts"].jobs + 18
    assert found["certify_radii"].jobs == without["certify_radii"].jobs


@pytest.mark.parametrize(
    ("kind", "fields", "units"),
    [
        ("gaussian", {}, 3),
        ("stability", {}, 6),
        ("stabilized", {}, 6),
        ("direct", {}, 48),
        ("consistency", {"noises": 2}, 6),
        ("smoothmix", {"noises": 2, "steps": 4}, 28),
        ("macer", {"noises": 16}, 48),
        ("catrs", {"noises": 4, "steps": 4}, 56),
        ("smoothadv", {"noises": 4, "steps": 10}, 92),
        ("consistency_smoothadv", {"noises": 2, "steps": 10}, 46),
    ],
)
def test_methods_cost_their_forward_and_backward_passes(kind, fields, units):
    # Units: a forward, an input gradient and a weight gradient count 1 each. Logged seconds per epoch agree to 15 %.
    assert spec_class("method", kind)(**fields).cost == pytest.approx(units / 3)


def test_samplers_say_what_to_plan_with():
    sampler, noise = study().samplers, next(iter(study().noises.values()))
    assert (sampler["cohen"].cost(noise), sampler["fast"].cost(noise)) == (100_000, 10_000 - sampler["fast"].n0)
    assert sampler["decide"].cost(noise) == sampler["decide"].n_max


def test_every_shipped_rate_has_a_source():
    for device in ("gpu-2019", "h200", "cpu-core"):
        found = read_rates(device)
        lines = [*found.draws.values(), *found.training.values()]
        assert found.about and lines and "unknown" not in {line.source for line in lines}
        assert set(found.draws) | set(found.training) <= set(found.parameters)


def test_the_command_prints_a_plan_of_every_experiment_that_is_shipped(capsys):
    overlays = ["configs/corruptions.yaml", "configs/denoised.yaml"]
    for name in CONFIG["experiments"]:
        assert main([name, "--configfile", *overlays]) == 0
        assert capsys.readouterr().out.startswith(f"{name}: ")
    assert main(["imagenet", "--shards", "4"]) == 0
    assert "device: gpu-2019" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "command line: no experiment or diagnosis 'nothing'; known: digits"),
        (["cifar"], "did you mean cifar10?"),
        (["digits", "--device", "abacus"], "no device 'abacus'; known: gpu-2019"),
        (["digits", "--shards", "0"], "must be at least 1"),
        (["digits", "--mean-draws", "0"], "must be at least 1"),
        (["digits", "--rates", "/nowhere.yaml"], "/nowhere.yaml: cannot be read"),
    ],
)
def test_what_is_not_there_is_named(capsys, arguments, message):
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_a_problem_is_said_to_be_in_the_files_that_were_read(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("experiment: {}\n")
    (tmp_path / "over.yaml").write_text("targets: []\n")
    assert main(["digits", "--config", str(tmp_path / "mine.yaml"), "--configfile", str(tmp_path / "over.yaml")]) == 1
    assert f"{tmp_path}/mine.yaml + {tmp_path}/over.yaml: experiment: no such section" in capsys.readouterr().err


def test_whoever_reads_a_plan_may_leave():
    """As `| head` does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    command = [sys.executable, "-m", "certflow.workflow.cost", "digits"]
    ours = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ours.stdout.close()
    assert (ours.wait(timeout=100), ours.stderr.read()) == (0, b"")
    ours.stderr.close()


def test_a_rate_that_is_no_rate_is_refused(tmp_path, capsys):
    assert main(["cifar10", "--rates", str(rates(tmp_path, x={"draws": {"resnet50": {"rate": 0}}}))]) == 1
    assert "rates.yaml: devices.x.draws.resnet50.rate: should be greater than 0, got 0" in capsys.readouterr().err
