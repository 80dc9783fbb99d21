"""The warm-up of the noise: which law each batch and each evaluation sees, also after a resume; where it is refused."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml
from pydantic import ValidationError
from training_examples import network, patterns, timeless, weights

from certflow.config import load
from certflow.errors import ConfigError
from certflow.noise import Gaussian as GaussianNoise
from certflow.noise import GeneralizedGaussian, Stream
from certflow.noise.warmup import warm_exponent
from certflow.training import train
from certflow.training.kinds.gaussian import Gaussian

NOISE = GeneralizedGaussian(k=28, sigma=0.25)
BATCHES = 3
"""Loader batches per epoch: 96 images."""
RECIPE = {"batch": 32, "lr": 0.05, "lr_step": 1}


class Watched(Gaussian):
    """Gaussian training that records the law of every batch, and may stop before one."""

    seen: ClassVar[list[int]] = []
    stop: ClassVar[int | None] = None

    def step(self, batch):
        if len(self.seen) == self.stop:
            raise KeyboardInterrupt
        self.seen.append(batch.noise_spec.k)
        return super().step(batch)


@pytest.fixture
def watched():
    Watched.seen.clear()
    yield Watched
    Watched.seen.clear()
    Watched.stop = None


def run(method, resume: Path | None = None, noise=NOISE):
    torch.set_num_threads(1)
    model = network()
    options = {
        "noise": noise,
        "seed": 3,
        "resume": resume,
        "digest": "a" * 64,
        "quiet": True,
        "checkpoint_seconds": 0.0,
    }
    result = train(method, model, *patterns(), **options)
    return weights(model), timeless(result.rows)


def test_epochs_share_a_law_and_the_evaluation_uses_it(watched, monkeypatch):
    evaluated, sample = [], GeneralizedGaussian.sample

    def recorded(self, shape, key):
        if key.stream == Stream.TRAIN_EVALUATION:
            evaluated.append(self.k)
        return sample(self, shape, key)

    monkeypatch.setattr(GeneralizedGaussian, "sample", recorded)
    run(watched(**RECIPE, epochs=6, noise_warmup=4))
    wanted = [warm_exponent(28, epoch, 4) for epoch in range(6)]
    assert wanted[0] == 0 and wanted[-1] == 28 and len(set(wanted)) == 6
    assert watched.seen == [k for k in wanted for _ in range(BATCHES)]
    assert evaluated == wanted


def test_steps_are_loader_batches_of_the_whole_run(watched):
    run(watched(**RECIPE, epochs=3, noise_warmup=6, noise_warmup_unit="step"))
    assert watched.seen == [warm_exponent(28, batch, 6) for batch in range(3 * BATCHES)]


def test_mini_batches_of_a_loader_batch_share_a_law(watched):
    class Split(watched):
        splits: ClassVar[bool] = True

    run(Split(**RECIPE, epochs=2, noises=4, noise_warmup=4, noise_warmup_unit="step"))
    assert watched.seen == [warm_exponent(28, batch, 4) for batch in range(2 * BATCHES) for _ in range(4)]


@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_a_resumed_run_goes_on_where_the_warm_up_was(watched, tmp_path, stop):
    method = watched(**RECIPE, epochs=3, noise_warmup=6, noise_warmup_unit="step")
    whole = run(method)
    watched.seen.clear()
    watched.stop = stop
    with pytest.raises(KeyboardInterrupt):
        run(method, tmp_path / "resume.safetensors")
    watched.stop = None
    assert run(method, tmp_path / "resume.safetensors") == whole
    assert watched.seen == [warm_exponent(28, batch, 6) for batch in range(3 * BATCHES)]


def test_a_warm_up_changes_what_is_trained():
    with_it, without = (run(Gaussian(**RECIPE, epochs=3, noise_warmup=length)) for length in (1, 0))
    assert with_it != without


def test_a_warm_up_is_part_of_the_method():
    plain = Gaussian(epochs=10)
    assert plain.canonical()["noise_warmup"] == 0
    warm = Gaussian(epochs=10, noise_warmup=8)
    assert warm.digest() != plain.digest()
    assert warm.digest() != Gaussian(epochs=10, noise_warmup=8, noise_warmup_unit="step").digest()
    assert Gaussian.model_validate({k: v for k, v in warm.canonical().items() if k != "revision"}) == warm


@pytest.mark.parametrize(("epochs", "longest"), [(8, 6), (3, 1), (2, 0), (1, 0)])
def test_the_last_epoch_has_the_noise_itself(epochs, longest):
    """In epoch `noise_warmup` the exponent is one short: that of the entry, which is certified, comes with the next one."""
    noise = GeneralizedGaussian(k=1, sigma=0.25)
    assert Gaussian(epochs=epochs, noise_warmup=longest).law(noise, epochs - 1, 0, BATCHES) == noise
    with pytest.raises(ValidationError, match="noise_warmup must end before the run's last epoch"):
        Gaussian(epochs=epochs, noise_warmup=longest + 1)
    Gaussian(epochs=epochs, noise_warmup=100, noise_warmup_unit="step")


@pytest.mark.parametrize(("length", "possible"), [(6 * BATCHES - 2, True), (6 * BATCHES - 1, False)])
def test_the_last_loader_batch_has_the_noise_itself(length, possible):
    method = Gaussian(**RECIPE, epochs=6, noise_warmup=length, noise_warmup_unit="step")
    assert (method.size_problems(96) == []) is possible
    assert (method.size_problems(65) == []) is possible, "the last batch of an epoch may be small"
    assert (method.law(NOISE, 5, BATCHES - 1, BATCHES) == NOISE) is possible
    if not possible:
        with pytest.raises(ValueError, match=r"before the run's last loader batch.*noise_warmup=17 and 18 loader"):
            run(method)


def warming(root, noises, **fields):
    """The configuration with a Gaussian training of its own, `warm`, under these noises and generalised Gaussian noise."""
    raw = yaml.safe_load((root / "config.yaml").read_text())
    raw["noises"]["ggauss"] = {"kind": "generalized_gaussian", "k": 20, "sigma": 0.25}
    raw["methods"]["warm"] = {"kind": "gaussian", **fields}
    raw["experiments"]["digits"] |= {"methods": ["warm"], "noises": ["ggauss", *noises]}
    return raw


def test_a_warm_up_without_end_is_found_with_the_configuration(root):
    raw = warming(root, [], epochs=6, noise_warmup=60_000, noise_warmup_unit="step")
    with pytest.raises(
        ConfigError, match=r"warm at ggauss on digits: noise_warmup must end.* 36 loader batches \(1352 images"
    ):
        load(raw)


def test_noise_without_a_warm_up_is_refused(root):
    with pytest.raises(ConfigError) as caught:
        load(warming(root, ["gauss-0.25"], epochs=5, noise_warmup=3))
    (line,) = [line for line in caught.value.problems if "noise_warmup" in line]
    assert line == (
        "experiments.digits.methods: warm at gauss-0.25 on digits: noise_warmup: noise of kind gaussian has no warm-up; "
        "set it to 0"
    )


def test_plain_noise_stays_as_it_is():
    law = GaussianNoise(sigma=0.25)
    assert Gaussian(epochs=10, noise_warmup=8).law(law, 2, 0, 5) is law
