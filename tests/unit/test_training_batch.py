"""Randomness of a mini-batch: keyed by image, epoch and slot, and by nothing else."""

import pytest
import torch
from training_examples import network

from certflow.noise import Gaussian
from certflow.training.batch import SLOTS, Batch, forward


def batch(index, epoch=0, seed=5, sigma=0.5, **fields) -> Batch:
    index = torch.tensor(index)
    x = torch.zeros(len(index), 2, 3, 4)
    y = torch.zeros(len(index), dtype=torch.int64)
    return Batch(
        model=fields.pop("model", None),
        x=x,
        y=y,
        index=index,
        noise_spec=Gaussian(sigma=sigma),
        seed=seed,
        epoch=epoch,
        epochs=9,
        **fields,
    )


def test_noise_of_an_image_is_that_of_any_other_batch_and_order():
    noise = batch([3, 70000, 8]).noise(3)
    assert noise.shape == (3, 3, 2, 3, 4)
    alone = batch([8]).noise(3)
    assert torch.equal(noise[:, 2], alone[:, 0])


def test_noises_are_numbered_slots():
    b = batch([3, 4])
    assert torch.equal(b.noise(5)[:2], b.noise(2))


def test_copies_are_the_images_plus_their_noise():
    b = batch([3, 70000, 8])
    b.x.copy_(torch.rand(b.x.shape))
    assert torch.equal(b.copies(4), b.x + b.noise(4))


@pytest.mark.parametrize("other", [{"epoch": 1}, {"seed": 6}, {"index": [4]}])
def test_noise_differs_by_epoch_seed_and_image(other):
    first = batch([3]).noise()
    second = batch(**{"index": [3], **other}).noise()
    assert not (first == second).any()


def test_last_slot_of_an_epoch_is_not_the_first_of_the_next():
    last = batch([3], epoch=0).noise(SLOTS)[-1:]
    assert not (last == batch([3], epoch=1).noise()).any()
    assert not (batch([3]).uniform(SLOTS - 1, 24) == batch([3], epoch=1).uniform(0, 24)).any()


def test_noise_has_the_scale_of_its_law():
    noise = batch(list(range(2000)), sigma=0.5).noise(4)
    assert noise.std().item() == pytest.approx(0.5, rel=0.01)  # 192,000 values: 0.16 % is one standard error


def test_own_coins_are_uniform_reproducible_and_apart_from_the_noise():
    b = batch(list(range(1000)))
    u = b.uniform(2, 3)
    assert u.shape == (1000, 3) and 0 < u.min() and u.max() < 1
    assert u.mean().item() == pytest.approx(0.5, abs=0.03)  # 5.7 standard errors
    assert torch.equal(batch([7]).uniform(2, 3), u[7:8])
    assert not torch.equal(b.uniform(1, 3), u)
    assert not torch.equal(b.normal(0), b.noise()[0] / 0.5)
    assert b.normal(0).shape == b.x.shape


@pytest.mark.parametrize("call", [lambda b: b.noise(1025), lambda b: b.uniform(1024), lambda b: b.uniform(-1)])
def test_slots_that_would_run_into_the_next_epoch_are_refused(call):
    with pytest.raises(ValueError, match="slots 0 to 1023"):
        call(batch([0]))


def test_forward_keeps_noises_and_images_apart():
    model = network().eval()
    x = torch.rand(3, 5, 1, 8, 8)
    with torch.no_grad():
        logits = forward(model, x)
        for m in range(3):
            torch.testing.assert_close(logits[m], model(x[m]), rtol=1e-5, atol=1e-6)


def test_forward_shows_all_copies_to_batch_normalisation_at_once():
    model = network(dropout=0)
    x = torch.rand(3, 5, 1, 8, 8)
    forward(model, x)
    assert model[1].num_batches_tracked == 1
    mean = model[0](x.flatten(0, 1)).mean((0, 2, 3))
    torch.testing.assert_close(model[1].running_mean, 0.1 * mean, rtol=1e-4, atol=1e-6)


def test_bfloat16_runs_the_network_under_autocast_and_returns_float32():
    model = network().eval()
    x = torch.rand(1, 5, 1, 8, 8)
    kinds = []
    model[0].register_forward_hook(lambda module, args, output: kinds.append(output.dtype))
    narrow, wide = forward(model, x, "bfloat16"), forward(model, x)
    assert kinds == [torch.bfloat16, torch.float32]
    assert narrow.dtype == torch.float32
    assert 0 < (narrow - wide).abs().max() < 0.05


def test_table_gives_the_rows_of_the_images():
    table = torch.arange(20.0).view(10, 2)
    assert torch.equal(batch([7, 0], tables={"p": table}).table("p"), table[[7, 0]])


def test_a_coin_belongs_to_the_mini_batch_and_to_no_image():
    first = batch([3, 4], number=7)
    assert first.coin() == batch([9], number=7, epoch=5).coin() == batch([3, 4, 5], number=7).cut(2)[1].coin()
    changes = ({"number": 8}, {"part": 1}, {"seed": 6})
    others = [first.coin(1), *(batch([3], **{"number": 7, **change}).coin() for change in changes)]
    assert len({first.coin(), *others}) == 5 and all(0 < value < 1 for value in others)


def test_coins_are_uniform_over_the_batches_of_a_run():
    coins = torch.tensor([batch([0], number=number).coin() for number in range(2000)])
    fractions = coins.sort().values - torch.arange(1, 2001) / 2000
    assert fractions.abs().max() < 0.0436  # Kolmogorov's bound at 1e-3: 1.95/sqrt(2000)


def test_a_coin_cannot_be_recorded():
    with pytest.raises(ValueError, match="sets `repeats` to False"):
        batch([3], recorded=True).coin()
