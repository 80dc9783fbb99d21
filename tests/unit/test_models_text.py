"""The transformer for texts: against torch's own layers, blind to padding, its layers found, and learnt by the usual loop."""

import numpy as np
import pytest
import torch

from certflow.data.base import DataInfo
from certflow.data.items import counting
from certflow.data.splits import ArraySplit
from certflow.kinds.registry import spec_class
from certflow.models import build, words
from certflow.models.hidden import captured, hidden_layers
from certflow.training import nearby
from certflow.training.batch import Batch
from certflow.training.loop import train

LENGTH, WORDS, CLASSES = 10, 40, 3
INFO = DataInfo(CLASSES, (LENGTH,), vocabulary=WORDS)
SPEC = spec_class("model", "text_transformer")(width=16, heads=2)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(SPEC, INFO).eval()


@pytest.fixture(scope="module")
def x():
    words = torch.randint(1, WORDS, (4, LENGTH), generator=torch.Generator().manual_seed(1))
    return words * (torch.arange(LENGTH) < torch.tensor([[10], [7], [1], [0]]))


def twin(network, x):
    """The same function from torch's own layers: each text by itself, cut to its words."""
    own, out = network[1], []
    for row in x:
        row = row[row > 0] if bool((row > 0).any()) else row[:1]
        h = (own.embedding.words(row) + own.embedding.places[: len(row)])[None]
        for block in own.blocks:
            layer = torch.nn.TransformerEncoderLayer(
                16, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            state = {
                "self_attn.in_proj_weight": block.attention.given.weight,
                "self_attn.in_proj_bias": block.attention.given.bias,
                "self_attn.out_proj.weight": block.attention.out.weight,
                "self_attn.out_proj.bias": block.attention.out.bias,
                "linear1.weight": block.linear[1].weight,
                "linear1.bias": block.linear[1].bias,
                "linear2.weight": block.linear[3].weight,
                "linear2.bias": block.linear[3].bias,
                "norm1.weight": block.before.weight,
                "norm1.bias": block.before.bias,
                "norm2.weight": block.linear[0].weight,
                "norm2.bias": block.linear[0].bias,
            }
            layer.load_state_dict(state)
            h = layer.train()(h)
        out.append(own.head(own.norm(h[0]).mean(0) if bool((row > 0).any()) else torch.zeros(16)))
    return torch.stack(out)


def test_it_is_torchs_own_layers_on_the_words_alone(network, x):
    with torch.inference_mode():
        torch.testing.assert_close(network(x), twin(network, x), rtol=1e-4, atol=1e-5)


def test_its_layers_are_found_and_pooled_over_words(network, x):
    assert hidden_layers(network, x[:1]) == ["1.embedding", "1.blocks"]
    assert hidden_layers(network, x[:1], "blocks") == ["1.embedding", "1.blocks.0", "1.blocks.1"]
    with torch.inference_mode(), captured(network, ["1.embedding"], mask=counting(x)) as found:
        network(x)
        wanted = network[1].embedding(x[1:2])[0, :7].mean(0)
    torch.testing.assert_close(found["1.embedding"][1], wanted)


def topics(n: int, seed: int) -> ArraySplit:
    """Texts of which the first word says the class."""
    rng = np.random.default_rng(seed)
    tokens, labels = rng.integers(4, WORDS, (n, LENGTH), dtype=np.int32), np.arange(n) % CLASSES
    tokens[:, 0] = 1 + labels
    tokens[:, 6:] *= rng.random((n, 1)) < 0.5
    return ArraySplit(tokens, labels, "topics")


@pytest.mark.parametrize("kind", ["gaussian", "knowledge", "adversarial", "alum"])
def test_methods_learn_from_texts(kind):
    torch.manual_seed(0)
    network, none = build(SPEC, INFO), spec_class("noise", "none")()
    method = spec_class("method", kind).small(epochs=3, batch=32, lr=0.01, update="adamw")
    result = train(method, network, topics(240, 0), topics(60, 1), noise=none, seed=0, quiet=True)
    assert result.rows[-1]["test_accuracy"] > 0.9
    if kind == "knowledge":
        assert result.rows[-1]["train_penalty"] > 0


# --- attacks in the space of words' vectors


def mini(network, x) -> Batch:
    none = spec_class("noise", "none")()
    return Batch(network, x, torch.arange(len(x)) % CLASSES, torch.arange(len(x)), none, seed=3)


def gradients(network, loss):
    parameters = dict(network.named_parameters())
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


@pytest.mark.parametrize(("kind", "off"), [("adversarial", {"eps": 0.0}), ("alum", {"weight": 0.0})])
def test_without_a_ball_it_is_plain_training(network, x, kind, off):
    """Also of the table of words, whose gradients pass through the points that are moved."""
    batch = mini(network, x)
    plain, found = (spec_class("method", name)(**more).loss(batch)[0] for name, more in (("gaussian", {}), (kind, off)))
    wanted = gradients(network, plain)
    for name, gradient in gradients(network, found).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_vectors_of_words_move_within_the_ball_and_padding_stays(network, x, norm):
    batch = mini(network, x)
    copies = batch.points(2)
    found = nearby.start(batch, copies, 0.3, norm)
    away = (found - copies).detach()[:, :3]
    size = away.flatten(2).abs().amax(2) if norm == "linf" else away.flatten(2).norm(dim=2)
    assert 0 < size.min() and size.max() <= 0.3 * (1 + 1e-5) and not away[:, 1, 0, 7:].any()
    assert torch.equal(batch.forward(copies), batch.forward(batch.copies(2)))


def test_one_step_is_the_sign_of_the_gradient_in_the_vectors(network, x):
    batch, own = mini(network, x), network[1]
    vectors = own.word_embedding(x).detach().requires_grad_()
    with words.replaced(network, vectors):
        loss = torch.nn.functional.cross_entropy(network(x), batch.y, reduction="sum")
    (g,) = torch.autograd.grad(loss, vectors)
    with words.replaced(network, vectors + 0.1 * g.sign() * counting(x)[..., None]):
        wanted = torch.nn.functional.cross_entropy(network(x), batch.y)
    found, _ = spec_class("method", "adversarial")(eps=0.1, steps=1, step_length=1.0).loss(batch)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"), [({"heads": 3}, "cannot share a width"), ({"resize": 8}, "resize: texts have no height")]
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        build(spec_class("model", "text_transformer").model_validate({"width": 16, **settings}), INFO)
