"""The real Snakefile on denoised methods: every model is made once, from what it names, and pictures are drawn."""

import pytest
import yaml
from snakemakes import snakemake_process
from test_workflow import ROOT, planned

pytestmark = pytest.mark.slow

DENOISED = ROOT / "configs" / "denoised.yaml"
NAMED = {"method": "plain", "noise": "clean"}
OVERLAY = {
    "methods": {
        "plain": {"kind": "gaussian", "epochs": 1},
        "bare": {"kind": "denoised", "classifier": NAMED},
        "mse": {"kind": "denoised", "denoiser": "dncnn-digits", "classifier": NAMED, "objective": "mse", "epochs": 1},
        "steady": {
            "kind": "denoised",
            "denoiser": "dncnn-digits",
            "classifier": NAMED,
            "objective": "stability",
            "init_from": "mse",
            "surrogates": [{**NAMED, "seed": 1}],
            "epochs": 1,
        },
        "drunet": {"kind": "denoised", "denoiser": "drunet-digits", "classifier": NAMED},
    },
    "experiments": {
        "tiny-denoised": {
            "dataset": "digits",
            "model": "small",
            "images": "digits-eighth",
            "noises": ["gauss-0.25", "gauss-0.50"],
            "methods": ["plain", "bare", "steady", "drunet"],
            "certificates": ["np-1k"],
            "radii": [0.25],
        }
    },
}


@pytest.fixture
def plan(tmp_path):
    """Target → rule → number of jobs, from a dry run of the project's configuration with the overlay."""

    def of(target: str) -> dict[str, int]:
        overlay = tmp_path / "overlay.yaml"
        overlay.write_text(yaml.safe_dump(OVERLAY))
        files = [str(DENOISED), str(overlay)]
        flags = ["-n", "--cores", "1", "--directory", str(tmp_path), "--configfile", *files]
        result = snakemake_process(*flags, "--", target)
        assert result.returncode == 0, result.stdout + result.stderr
        return planned(result.stdout + result.stderr)

    return of


def test_the_report_asks_for_every_part_once(plan):
    jobs = plan("results/reports/tiny-denoised.html")
    # plain at two noise levels, and at none as classifier and, with another seed, as surrogate.
    assert jobs["train_model"] == 4
    # steady and the mse it starts from, though that is in no table, at two noise levels.
    assert jobs["train_denoised"] == 4
    # no denoiser and DRUNet, whose one training serves both noise levels.
    assert (jobs["compose_denoised"], jobs["train_denoiser"]) == (4, 1)
    assert jobs["presample_counts"] == jobs["certify_radii"] == 8
    assert (jobs["draw_denoised"], jobs["write_report"]) == (1, 1)


def test_experiments_without_denoisers_draw_no_such_pictures(plan):
    assert "draw_denoised" not in plan("results/reports/digits.html")


def test_the_starting_point_is_an_input(plan):
    target = "results/train/digits/small/{}/gauss-0.50/seed0/model.safetensors"
    assert plan(target.format("mse")) == {"prepare_data": 1, "train_model": 1, "train_denoised": 1}
    assert plan(target.format("steady")) == {"prepare_data": 1, "train_model": 2, "train_denoised": 2}
    assert plan(target.format("bare")) == {"prepare_data": 1, "train_model": 1, "compose_denoised": 1}
