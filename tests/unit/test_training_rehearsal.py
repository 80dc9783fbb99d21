"""Networks that cannot normalise a batch of one image are refused before the first step, and no others."""

from itertools import product

import pytest
import torch
from training_examples import network, patterns, timeless, weights

from certflow.errors import UnsuitableError
from certflow.noise import Gaussian as GaussianNoise
from certflow.training import train
from certflow.training.kinds.consistency import Consistency
from certflow.training.kinds.gaussian import Gaussian
from certflow.training.kinds.macer import Macer
from certflow.training.kinds.stability import Stability
from certflow.training.ranks import Ranks
from certflow.training.rehearsal import Rehearsal, fewest
from certflow.training.stepper import pieces


def flat() -> torch.nn.Module:
    """Batch normalisation of one value per channel and row."""
    torch.manual_seed(0)
    layers = (torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 10))
    return torch.nn.Sequential(torch.nn.Flatten(), *layers)


def run(method, model, images):
    result = train(method, model, *patterns(images), noise=GaussianNoise(sigma=0.25), seed=3, quiet=True)
    return weights(model), timeless(result.rows)


REFUSED = [
    (Gaussian(batch=16), 33, r"33 training images \(batch=16\) .* set batch to 15"),
    (Gaussian(batch=1), 8, r"set batch to 2"),
    (Gaussian(batch=16, micro_batch=5), 32, r"\(batch=16, micro_batch=5\) .* set batch to 15"),
    (Gaussian(batch=16, micro_batch=1), 32, "choose another batch or micro_batch, or fewer devices"),
    (Stability(batch=16, noises=4), 33, "set batch to 15"),
    (Consistency(batch=16, noises=1), 33, r"\(batch=16, noises=1\) .* set batch to 15"),
]


@pytest.mark.parametrize(("method", "images", "message"), REFUSED)
def test_what_would_fail_at_the_end_of_an_epoch_is_refused_at_its_beginning(method, images, message):
    model = flat()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(UnsuitableError, match=message):
        run(method, model, images)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


ENOUGH = [
    (Gaussian(batch=16, epochs=1), flat, 34),
    (Gaussian(batch=16, epochs=2), network, 33),
    (Macer(batch=16, epochs=1, noises=3), flat, 33),
    (Consistency(batch=16, epochs=1, noises=2), flat, 34),
]


@pytest.mark.parametrize(("method", "model", "images"), ENOUGH)
def test_what_works_is_trained_to_the_same_bits(method, model, images, monkeypatch):
    found = run(method, model(), images)
    monkeypatch.setattr(Rehearsal, "run", lambda self, batch: None)
    assert found == run(method, model(), images)


def test_the_smallest_part_is_that_of_the_loop():
    for batch, images, noises, micro, world in product(range(3, 9), range(3, 20), (1, 3), (None, 1, 2, 3), (1, 2)):
        method = Consistency(batch=batch, noises=noises, micro_batch=micro)
        sizes = set()
        for first in range(0, images, batch):
            for piece in pieces(min(batch, images - first), method):
                for rank in range(world):
                    share = Ranks(rank, world).share(piece.stop - piece.start)
                    rows = list(range(share.start, share.stop))
                    sizes |= {len(rows[at : at + (micro or batch)]) for at in range(0, len(rows), micro or batch)}
        assert fewest(method, batch, images, world) == min(sizes), (batch, images, noises, micro, world)
