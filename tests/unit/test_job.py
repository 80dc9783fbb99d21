"""What a job's script gets: specs with their places, corrupted copies, and a log that ends with the error."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from certflow.config import load
from certflow.config.files import merged
from certflow.config.parse import sections
from certflow.errors import ConfigError
from certflow.workflow.job import corrupted_of, dataset_of, denoiser_of, method_of

ROOT = Path(__file__).resolve().parents[2]
CONFIG = sections(merged([ROOT / "config.yaml", ROOT / "configs" / "denoised.yaml"]), [])
STUDY = load(CONFIG)


def job(spec, config=CONFIG, files=None, **wildcards):
    params = SimpleNamespace(spec=spec)
    return SimpleNamespace(params=params, config=config, input=files, wildcards=SimpleNamespace(**wildcards))


def test_a_dataset_is_what_the_params_say_at_the_place_that_the_configuration_says():
    config = {**CONFIG, "datasets": {"mnist": {"kind": "mnist", "root": "/images", "normalisation": "dsrs"}}}
    for spec in (STUDY.dataset_spec("mnist"), {"dataset": STUDY.dataset_spec("mnist")}):
        found = dataset_of(job(spec, config, dataset="mnist"))
        assert found.root == "/images" and found.canonical() == STUDY.dataset_spec("mnist")
    assert dataset_of(job(spec, config, experiment="mnist"), "mnist") == found


def test_a_methods_file_is_no_part_of_its_identity():
    config = {**CONFIG, "methods": {"gaussian": {"kind": "gaussian", "start_from": "a.pth", "epochs": 1}}}
    spec = STUDY.model_spec("mnist", "lenet", "gaussian", "gauss-0.50", 0)
    found = method_of(job(spec, config, method="gaussian"))
    assert found.start_from == "a.pth" and found.canonical() == spec["method"]
    old = {**spec, "method": {**spec["method"], "revision": 0}}
    with pytest.raises(ConfigError, match="written by revision 0"):
        method_of(job(old, config, method="gaussian"))


def test_a_denoiser_is_among_the_parts_of_its_model():
    spec = STUDY.model_spec("digits", "small", "digits-drunet", "gauss-0.50", 0)
    assert denoiser_of(job(spec), "drunet-digits").canonical() == spec["parts"]["denoiser"]
    assert denoiser_of(job(spec), None) is None


def test_corrupted_copies_are_those_in_the_name():
    assert corrupted_of(job({}, images="every20")) is None
    files = SimpleNamespace(corrupted="results/data/mnist/computed/contrast.json")
    found = corrupted_of(job({}, files=files, images="every20@computed@contrast"))
    assert (found.name, found.spec.kind) == ("contrast", "computed")


@pytest.mark.parametrize(
    ("error", "ending"), [("DataError('x.npz: is cut')", "error: x.npz: is cut\n"), ("KeyError(1)", "KeyError: 1\n")]
)
def test_the_log_ends_with_the_error_and_the_job_fails(tmp_path, error, ending):
    code = (
        "from types import SimpleNamespace\n"
        "from certflow.errors import DataError\n"
        "from certflow.workflow.job import attached\n"
        f"with attached(SimpleNamespace(log={str(tmp_path / 'a' / 'job.log')!r})):\n"
        f"    raise {error}\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    log = (tmp_path / "a" / "job.log").read_text()
    assert result.returncode == 1 and log.endswith(ending)
    assert ("Traceback" in log) == ("KeyError" in error)
