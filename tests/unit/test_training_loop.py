"""The loop against a plain one written by hand, its splitting, its log and its errors."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from training_examples import Images, Probe, Telling, digits, network, timeless, weights

from certflow.data.batches import batches
from certflow.errors import ArtefactError, NonFiniteError
from certflow.files.artefact import write_text_table
from certflow.files.provenance import Provenance
from certflow.machine.memory import freed_memory_is_kept, keep_freed_memory, restore_default
from certflow.noise import Gaussian as GaussianNoise
from certflow.noise.base import Key
from certflow.noise.streams import Stream
from certflow.report.training import read_training_log
from certflow.training import seed_everything, train
from certflow.training.kinds.gaussian import Gaussian
from certflow.training.log import LogFile
from certflow.training.stepper import pieces

NOISE = GaussianNoise(sigma=0.25)


def run(method=None, model=None, seed=3, data=None, **options):
    method = method or Gaussian(epochs=2, batch=32, lr=0.05, lr_step=1, lr_drop_offset=0)
    model = model or network()
    result = train(method, model, *(data or digits()), noise=NOISE, seed=seed, quiet=True, **options)
    return model, result


def plain(method, model, train_split, seed):
    """The same training in the most obvious way: no fused optimiser, no layout, momentum and decay by hand."""
    velocity = {}
    loader = batches(train_split, device="cpu", batch=method.batch, seed=seed, augmentation="none")
    losses = []
    for epoch in range(method.epochs):
        lr = method.lr * 0.1**epoch
        for index, x, y in loader.epoch(epoch):
            draw = torch.full_like(index, 1024 * epoch)
            noise = NOISE.sample(tuple(x.shape[1:]), Key(index, draw, seed=seed, stream=Stream.TRAIN_NOISE))
            loss = F.cross_entropy(model(x + noise), y)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            losses.append((epoch, len(y), loss.item()))
            with torch.no_grad():
                for p, g in zip(model.parameters(), gradients, strict=True):
                    g = g + method.weight_decay * p
                    velocity[p] = g if p not in velocity else method.momentum * velocity[p] + g
                    p -= lr * velocity[p]
    return [sum(n * v for e, n, v in losses if e == epoch) / len(train_split) for epoch in range(method.epochs)]


def test_loop_does_what_a_plain_loop_does():
    method = Gaussian(epochs=2, batch=40, lr=0.05, lr_step=1, lr_drop_offset=0, weight_decay=0.01)
    data = digits()
    model, result = run(method, network(dropout=0), data=data)
    reference = network(dropout=0)
    losses = plain(method, reference, data[0], seed=3)
    assert [row["train_loss"] for row in result.rows] == pytest.approx(losses, rel=1e-4)
    for (name, ours), theirs in zip(model.state_dict().items(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=name)


def test_one_seed_gives_one_result_whatever_the_global_generators_hold():
    first, rows = run()
    torch.manual_seed(12345)
    model = network()
    torch.rand(100)
    second, again = run(model=model)
    assert weights(first) == weights(second)
    assert timeless(rows.rows) == timeless(again.rows)
    assert weights(run(seed=4)[0]) != weights(first)


def test_training_leaves_the_callers_generator_alone():
    model = network()
    torch.manual_seed(9)
    run(model=model)
    found = torch.rand(3)
    torch.manual_seed(9)
    assert torch.equal(found, torch.rand(3))


def test_freed_memory_is_kept_while_it_trains():
    if not keep_freed_memory():
        pytest.skip("the C library is not glibc")
    restore_default()
    seen = []
    run(log=lambda row: seen.append(freed_memory_is_kept()))
    assert seen == [True, True] and not freed_memory_is_kept()


def test_log_has_one_row_per_epoch_and_the_learning_rate_really_used(tmp_path):
    seen = []
    method = Gaussian(epochs=3, batch=32, lr=0.05, lr_step=1, lr_drop_offset=1)
    _, result = run(method, log=seen.append)
    assert seen == result.rows
    run(method, log=LogFile(tmp_path / "training.tsv", Provenance("training log", {})))
    table = pd.read_csv(tmp_path / "training.tsv", sep="\t")
    assert list(table.columns) == [
        *("epoch", "seconds", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "test_top5"),
        "images_per_second",
    ]
    assert table.epoch.tolist() == [0, 1, 2]
    np.testing.assert_allclose(table.lr, [0.05, 0.05, 0.005])
    assert table.train_loss.tolist() == [row["train_loss"] for row in result.rows]
    assert (table.test_top5 >= table.test_accuracy).all()


def test_evaluation_is_one_draw_per_image_in_eval_mode():
    data = digits()
    model, result = run(data=data)
    index = torch.arange(len(data[1]))
    x = torch.as_tensor(data[1].pixels).float() / 255
    noise = NOISE.sample((1, 8, 8), Key(index, torch.full_like(index, 1), seed=3, stream=Stream.TRAIN_EVALUATION))
    labels = torch.as_tensor(data[1].labels)
    with torch.no_grad():
        logits = model(x + noise)
    row = result.rows[-1]
    assert row["test_loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert row["test_accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    top5 = (logits.argsort(1, descending=True)[:, :5] == labels[:, None]).any(1).float().mean().item()
    assert row["test_top5"] == pytest.approx(top5)


def test_top5_is_left_out_with_five_classes_or_fewer():
    train_split, test_split = digits()
    few = [Images(split.pixels, split.labels % 5) for split in (train_split, test_split)]
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))
    assert "test_top5" not in run(model=model, data=few)[1].rows[0]


def test_model_ends_in_eval_mode_and_plain_layout():
    model, result = run()
    assert not model.training
    assert all(p.is_contiguous() for p in model.parameters())
    assert result.notes["device"] == "cpu" and result.notes["parameters"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("images", "noises", "sizes"), [(8, 1, [8]), (8, 3, [2, 2, 2]), (96, 5, [19] * 5), (3, 4, []), (4, 4, [1] * 4)]
)
def test_loader_batches_split_into_equal_consecutive_pieces(images, noises, sizes):
    found = list(pieces(images, Probe(batch=256, noises=noises)))
    assert [piece.stop - piece.start for piece in found] == sizes
    assert [i for piece in found for i in range(images)[piece]] == list(range(sum(sizes)))
    assert [s.stop for s in pieces(images, Gaussian(noises=noises))] == [images]


def test_splitting_makes_one_step_per_piece_and_keeps_images_with_labels():
    Probe.seen.clear()
    data = digits(train=20)
    method = Probe(epochs=1, batch=8, noises=3, lr=0.1)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 10)
    )  # with batch normalisation a step is tried before
    _, result = run(method, model, data=data)
    assert [len(b.y) for b in Probe.seen] == [2, 2, 2, 2, 2, 2, 1, 1, 1]
    used = torch.cat([b.index for b in Probe.seen])
    assert len(set(used.tolist())) == 15
    for b in Probe.seen:
        assert torch.equal(b.y, torch.as_tensor(data[0].labels)[b.index])
        assert torch.equal(b.x, torch.as_tensor(data[0].pixels[b.index.numpy()]).float() / 255)
    assert result.rows[0]["train_accuracy"] is None


def test_missing_accuracy_is_an_empty_cell(tmp_path):
    run(Probe(epochs=1, batch=32), log=LogFile(tmp_path / "training.tsv", Provenance("training log", {})))
    assert pd.read_csv(tmp_path / "training.tsv", sep="\t").train_accuracy.isna().all()


def test_what_a_method_reports_besides_is_logged_and_read(tmp_path):
    """96 images in batches of 32; the number of the batch is reported in the second epoch alone."""
    spec, path = {"method": {"kind": "telling"}}, tmp_path / "m" / "n" / "s" / "training.tsv"
    run(Telling(epochs=2, batch=32, micro_batch=5), log=LogFile(path, Provenance("training log", spec)))
    assert path.read_text().split("\n")[0].split("\t")[4:8] == [
        "train_accuracy",
        "train_even",
        "train_number",
        "test_loss",
    ]
    log = read_training_log(path, spec)
    assert log.extras["even"].tolist() == pytest.approx([0.5, 0.5])
    assert np.isnan(log.extras["number"][0]) and log.extras["number"][1] == pytest.approx(4.0)
    cells = [line.split("\t") for line in path.read_text().splitlines()]
    cells[2][5] = "half"
    write_text_table(path, "\n".join("\t".join(line) for line in cells) + "\n", Provenance("training log", spec))
    with pytest.raises(ArtefactError, match="train_even is not a number"):
        read_training_log(path, spec)


def test_what_is_reported_without_being_announced_is_refused():
    class Forgetful(Telling):
        extras = ("even",)

    with pytest.raises(ValueError, match="reports number, which is not among its extras"):
        run(Forgetful(epochs=2, batch=32))


class Pieces(Gaussian):
    """Back-propagates its loss in two halves; logs another quantity than the one it minimises."""

    def step(self, batch):
        logits = batch.forward(batch.x + batch.noise())[0]
        losses = F.cross_entropy(logits, batch.y, reduction="none") / len(batch.y)
        for part in (losses[::2].sum(), losses[1::2].sum()):
            part.backward(retain_graph=True)
        return {"objective": losses.detach().sum(), "loss": torch.tensor(2.0)}


def test_method_may_back_propagate_in_pieces_and_log_its_own_loss():
    fields = {"epochs": 2, "batch": 40, "lr": 0.05}
    whole, _ = run(Gaussian(**fields), network(dropout=0))
    parts, result = run(Pieces(**fields), network(dropout=0))
    assert [row["train_loss"] for row in result.rows] == [2.0, 2.0]
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


class Failing(Probe):
    """Its loss is no number from step 4 of epoch 1 on."""

    def loss(self, batch):
        loss, logged = super().loss(batch)
        bad = batch.epoch == 1 and sum(b.epoch == 1 for b in self.seen) > 4
        return loss * (math.nan if bad else 1.0), logged


def test_loss_that_is_no_number_is_named_by_epoch_and_step():
    Probe.seen.clear()
    with pytest.raises(NonFiniteError, match="epoch 1, step 4: the training loss is nan"):
        run(Failing(epochs=3, batch=8))


def test_a_network_that_overflows_in_eval_mode_alone_stops_its_training():
    """As with running statistics that are no numbers: no training loss uses them."""
    model = network()
    model.register_forward_hook(lambda network, _, found: found if network.training else found * math.nan)
    with pytest.raises(NonFiniteError, match="epoch 0: the loss on noisy test images is nan"):
        run(model=model)


def test_diverging_training_stops():
    with pytest.raises(NonFiniteError, match="epoch 0, step .*lower the learning rate"):
        run(Gaussian(epochs=1, batch=8, lr=1e30))


def test_tables_reach_the_method_and_are_checked():
    class Tabled(Probe):
        tables = frozenset({"p"})

    Probe.seen.clear()
    table = np.random.default_rng(0).random((96, 10), dtype=np.float32)
    run(Tabled(epochs=1, batch=32), tables={"p": table})
    for b in Probe.seen:
        np.testing.assert_array_equal(b.table("p").numpy(), table[b.index.numpy()])
    with pytest.raises(ValueError, match=r"needs the tables \['p'\], got \[\]"):
        run(Tabled(epochs=1))
    with pytest.raises(ValueError, match="95 rows, the training split has 96"):
        run(Tabled(epochs=1), tables={"p": table[1:]})


def test_bad_arguments_are_refused():
    class Finished(Gaussian):
        trains = False

    with pytest.raises(ValueError, match="cannot be trained"):
        run(Finished())
    empty = Images(np.zeros((0, 1, 8, 8), np.uint8), [])
    with pytest.raises(ValueError, match="the training split has no images"):
        run(data=(empty, digits()[1]))
    with pytest.raises(ValueError, match="2 images, too few"):
        run(Probe(noises=3), data=digits(train=2))
    with pytest.raises(ValueError, match="batch must be at least noises"):
        Probe(batch=3, noises=4)
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        Gaussian(nesterov=True, momentum=0.0)
    for seed in (-1, 2**32):  # torch on a CPU would draw for 2**32 what it draws for 0
        with pytest.raises(ValueError, match="seed must be"):
            seed_everything(seed)


def test_seed_everything_fixes_the_initial_weights():
    seed_everything(7)
    first = (torch.rand(2).tolist(), np.random.rand())
    seed_everything(7)
    assert (torch.rand(2).tolist(), np.random.rand()) == first


def test_the_largest_seed_shares_no_stream_with_those_of_fewer_bits():
    drawn = []
    for seed in (2**32 - 1, 2**31 - 1, 2**16 - 1, 0):
        seed_everything(seed)
        drawn.append((torch.rand(2).tolist(), np.random.rand()))
    assert all(first != second for first, second in combinations(drawn, 2))


def test_lenet_learns_real_digits_under_noise(shared):
    from certflow.data.base import DataInfo
    from certflow.data.kinds.mnist import Mnist
    from certflow.models import build
    from certflow.models.kinds.lenet import LeNet

    root = shared("data/mnist")
    data = [Mnist().read(split, root) for split in ("train", "test")]
    few = [Images(split.read(np.arange(n)), split.labels[:n]) for split, n in zip(data, (1500, 500), strict=True)]
    seed_everything(0)
    model = build(LeNet(), DataInfo(classes=10, shape=(1, 28, 28)))
    _, result = run(Gaussian(epochs=2, batch=50, lr=0.1, schedule="one_cycle"), model, data=few)
    # The exact chance of 300 of 500 right by guessing is below 1e-100.
    assert result.rows[-1]["test_accuracy"] > 0.6
