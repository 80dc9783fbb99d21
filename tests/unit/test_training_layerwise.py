"""Layer-wise rates, weight decay that spares some parameters and changes, clipping: against torch and closed forms."""

import pytest
import torch
from pydantic import ValidationError
from training_examples import network, patterns, weights

from certflow.data.base import DataInfo
from certflow.errors import ConfigError
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian as GaussianNoise
from certflow.training import train
from certflow.training.gradients import clip
from certflow.training.kinds.gaussian import Gaussian
from certflow.training.layerwise import decays, layers, rates

TIMM = {
    "1.cls_token": 0,
    "1.pos_embed": 0,
    "1.patch_embed.proj.weight": 0,
    "1.norm_pre.weight": 13,
    "1.norm.bias": 13,
    "1.head.weight": 13,
    **{f"1.blocks.{block}.attn.qkv.weight": block + 1 for block in range(12)},
}
OLD = {
    "vit.embeddings.cls_token": 0,
    "vit.embeddings.position_embeddings": 0,
    "vit.embeddings.patch_embeddings.projection.weight": 0,
    "vit.layernorm.weight": 13,
    "classifier.bias": 13,
    **{f"vit.encoder.layer.{block}.attention.attention.query.weight": block + 1 for block in range(12)},
}
NEW = {
    "vit.embeddings.cls_token": 0,
    "classifier.weight": 13,
    **{f"vit.layers.{block}.attention.q_proj.weight": block + 1 for block in range(12)},
}
CONVOLUTIONAL = {
    "conv1.weight": 0,
    "bn1.weight": 0,
    "layer1.0.conv1.weight": 1,
    "layer4.1.bn2.bias": 4,
    "layer2.0.downsample.0.weight": 2,
    "layer3.0.conv2.weight": 3,
    "fc.weight": 5,
}
HYBRID = {
    "cls_token": 0,
    "patch_embed.backbone.stages.0.blocks.0.conv1.weight": 1,
    "patch_embed.proj.weight": 0,
    "blocks.1.attn.qkv.weight": 2,
    "head.weight": 3,
}
EFFICIENT = {
    "conv_stem.weight": 0,
    "blocks.0.0.conv_dw.weight": 1,
    "blocks.1.0.conv_pw.weight": 2,
    "conv_head.weight": 3,
}
NESTED = {"stem.0.weight": 0, "stages.0.blocks.1.norm.weight": 1, "stages.1.blocks.0.norm.weight": 2, "head.fc.bias": 3}


TEXTS = {
    "1.embedding.places": 0,
    "1.embedding.words.weight": 0,
    "1.blocks.0.linear.1.weight": 1,
    "1.blocks.1.before.bias": 2,
    "1.head.weight": 3,
}
BERT = {
    "1.network.embeddings.word_embeddings.weight": 0,
    "1.network.embeddings.position_embeddings.weight": 0,
    "1.network.encoder.layer.0.output.dense.weight": 1,
    "1.head.weight": 2,
}
GPT = {"transformer.wte.weight": 0, "transformer.wpe.weight": 0, "transformer.h.0.ln_1.bias": 1, "score.weight": 2}


@pytest.mark.parametrize("wanted", [TIMM, OLD, NEW, CONVOLUTIONAL, HYBRID, EFFICIENT, NESTED, TEXTS, BERT, GPT])
def test_layers_are_read_off_the_usual_names(wanted):
    assert layers(wanted) == wanted


def test_the_last_normalisation_of_a_wide_residual_network_learns_like_its_head():
    network = spec_class("model", "wide_resnet")(depth=10, width=1).backbone(DataInfo(10, (3, 32, 32)))
    found = rates([name for name, _ in network.named_parameters()], 0.5)
    wanted = {"conv1.weight": 0.0625, "bn1.weight": 1.0, "bn1.bias": 1.0, "fc.weight": 1.0, "fc.bias": 1.0}
    assert {name: rate for name, rate in found.items() if "block" not in name} == wanted


def test_names_that_say_nothing_are_one_layer():
    assert set(rates(["0.weight", "1.2.bias"], 0.5).values()) == {1.0}


def test_frozen_layers_below_do_not_change_the_rates_above():
    some = [name for name, layer in TIMM.items() if layer > 6]
    assert rates(some, 0.65) == {name: rate for name, rate in rates(TIMM, 0.65).items() if name in some}


@pytest.mark.parametrize(
    ("decay", "wanted"), [(0.65, {0: 0.00369721, 6: 0.04902228, 12: 0.65, 13: 1.0}), (0.9, {0: 0.25418658, 12: 0.9})]
)
def test_rates_of_a_vision_transformer(decay, wanted):
    found = rates(TIMM, decay)
    for name, layer in TIMM.items():
        if layer in wanted:
            assert found[name] == pytest.approx(wanted[layer], abs=5e-9)


def test_biases_normalisations_tokens_and_positions_are_not_decayed():
    matrix, vector = torch.zeros(2, 2), torch.zeros(2)
    assert decays("head.weight", matrix)
    assert not decays("norm.weight", vector) and not decays("head.bias", matrix)
    positions = ("pos_embed", "1.embedding.places", "embeddings.position_embeddings.weight", "transformer.wpe.weight")
    for name in ("vit.embeddings.cls_token", *positions):
        assert not decays(name, torch.zeros(1, 9, 4)), name
    assert decays("embeddings.word_embeddings.weight", matrix) and decays("1.embedding.words.weight", matrix)


class Net(torch.nn.Module):
    """A network of two blocks, with names as transformers have them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.patch_embed = torch.nn.Linear(4, 4)
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(2))
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x):
        x = self.patch_embed(x)
        for block in self.blocks:
            x = block(x).tanh()
        return self.head(x)


def test_a_decay_by_layers_that_no_name_tells_is_refused():
    """`small_conv` is one chain: every parameter would learn at the full rate."""
    chain = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 3))
    method = Gaussian(update="adamw", layer_decay=0.5)
    with pytest.raises(
        ConfigError, match="layer_decay: has no effect on a network whose parameters' names tell no layers"
    ):
        method.optimiser(chain.named_parameters(), 1)
    assert method.optimiser(Net().named_parameters(), 1) is not None
    assert Gaussian(update="adamw").optimiser(chain.named_parameters(), 1) is not None


def test_steps_are_those_of_torch_s_adamw_with_a_group_per_layer():
    method = Gaussian(
        epochs=2, update="adamw", lr=0.01, layer_decay=0.5, weight_decay=0.1, weight_decay_end=0.4, schedule="cosine"
    )
    ours, theirs, steps = Net(), Net(), 3
    optimiser = method.optimiser(ours.named_parameters(), steps)
    scales = {"patch_embed": 0.125, "blocks.0": 0.25, "blocks.1": 0.5, "head": 1.0}
    groups = [
        {"params": [p], "scale": scales[name.rpartition(".")[0]], "decayed": name.endswith("weight")}
        for name, p in theirs.named_parameters()
    ]
    reference = torch.optim.AdamW(groups, lr=1.0)
    decay = [0.1, 0.1200962, 0.175, 0.25, 0.325, 0.3799038]  # 0.4 - 0.3 (1 + cos(pi i/6))/2
    for step in range(2 * steps):
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
        lr = 0.01 if step < steps else 0.005
        for net in (ours, theirs):
            net.zero_grad()
            net(x).square().mean().backward()
        optimiser.step(
            method.learning_rate(step // steps, step % steps, steps), method.decay(*divmod(step, steps), steps)
        )
        for group in reference.param_groups:
            group["lr"], group["weight_decay"] = lr * group["scale"], decay[step] if group["decayed"] else 0.0
        reference.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7, msg=name)


def test_weight_decay_stays_unless_it_is_told_where_to_go():
    assert {Gaussian(weight_decay=0.3).decay(epoch, 0, 5) for epoch in (0, 70, 149)} == {0.3}
    method = Gaussian(weight_decay=0.04, weight_decay_end=0.4, epochs=4)
    found = [method.decay(epoch, 0, 10) for epoch in range(3)] + [method.decay(3, 9, 10)]
    assert found == pytest.approx([0.04, 0.0927208, 0.22, 0.3994450], rel=1e-6)


def test_each_tensor_is_clipped_by_itself():
    long, short, none = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    long.grad, short.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.0])
    clip([long, short, none], 1.0)
    torch.testing.assert_close(long.grad, torch.tensor([0.6, 0.8]))
    assert torch.equal(short.grad, torch.tensor([0.3, 0.0])) and none.grad is None


def trained(**fields):
    method, model = Gaussian(epochs=1, batch=32, lr=0.01, momentum=0.0, weight_decay=0.0, **fields), network(dropout=0)
    train(method, model, *patterns(), noise=GaussianNoise(sigma=0.25), seed=3, quiet=True)
    return model


def test_the_loop_clips_before_it_steps():
    before, after = network(dropout=0), trained(clip=1e-3)
    ways = [(a - b).norm().item() for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert 1e-5 < max(ways) <= 3 * 0.01 * 1e-3 * 1.001  # three steps of at most lr · clip
    assert weights(trained(clip=1e6)) == weights(trained())


@pytest.mark.parametrize("update", ["adam", "adamw"])
def test_adam_trains_and_resumes_to_the_same_bits(tmp_path, update):
    class Stopping(Gaussian):
        def step(self, batch):
            if batch.number == 4:
                raise InterruptedError
            return super().step(batch)

    def run(kind, model, **options):
        method = kind(epochs=3, batch=32, lr=1e-3, update=update, weight_decay_end=0.1)
        noise = GaussianNoise(sigma=0.25)
        options = {"resume": tmp_path / "resume.pt", "checkpoint_seconds": 0.0, **options}
        return train(method, model, *patterns(), noise=noise, seed=3, quiet=True, **options), weights(model)

    _, whole = run(Gaussian, network(), resume=None)
    with pytest.raises(InterruptedError):
        run(Stopping, network())
    result, found = run(Gaussian, network())
    assert result.notes["resumed"] == [1, 1] and found == whole


def test_a_gradient_is_not_clipped_to_nothing():
    with pytest.raises(ValidationError, match="clip"):
        Gaussian(clip=0.0)
