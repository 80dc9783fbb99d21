"""A U-Net at one time for good: the function of the network that is told the time, at that time."""

import copy

import pytest
import torch
from denoising_examples import INFO, classifier

from certflow.denoising.composed import DenoiseThenClassify
from certflow.denoising.kinds.diffusion import Diffusion
from certflow.denoising.networks.settled import SettledAttention, SettledBlock, SettledUNet, settle
from certflow.denoising.networks.unet import UNet, settings
from certflow.denoising.oneshot import SettledOneShot
from certflow.denoising.openai import Layout
from certflow.models.base import Inference
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.fast.fusing import FusedConv2d

OWN = settings(3, 8, widths=(8, 16), layers=1, attention=(1,), head_dim=8, groups=4, dropout=0.1)
HUB = {"block_out_channels": [8, 16], "norm_num_groups": 4, "attention_head_dim": None, "layers_per_block": 2}
HUB |= {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
OPENAI = Layout(3, 6, (8, 16), 1, (False, True), True, True)
SETTINGS = {
    "own": OWN,
    "time added": {**OWN, "resnet_time_scale_shift": "default"},
    "hub": {**HUB, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "mid_block_scale_factor": 2},
    "openai": OPENAI.settings(8, 8, groups=4),
    "openai, by residual blocks": Layout(3, 6, (8, 16), 1, (False, False), True, False).settings(8, 8, groups=4),
    "no attention": {**OWN, "add_attention": False},
    "another activation": {**OWN, "act_fn": "gelu"},
}
TIME = 289.5


def network_of(config: dict) -> UNet:
    """A U-Net whose every weight matters (fresh ones have zeros and ones)."""
    torch.manual_seed(0)
    network = UNet(config).eval().requires_grad_(False)
    for weight in network.parameters():
        weight += 0.1 * torch.randn_like(weight)
    return network


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("rows", [2, 65])
@torch.inference_mode()
def test_it_is_the_network_at_that_time(name, rows):
    network = network_of(SETTINGS[name])
    u, time = torch.randn(rows, 3, 8, 8), torch.tensor([TIME])
    before = copy.deepcopy(network.state_dict())
    settled = settle(network, TIME)
    wanted = copy.deepcopy(network).double()(u.double(), time)
    for layout in (torch.contiguous_format, torch.channels_last):
        found = settled.to(memory_format=layout)(u.contiguous(memory_format=layout))
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4 * float(wanted.std()))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(hasattr(part, "time_emb_proj") for part in settled.modules())
    assert float((wanted - copy.deepcopy(network).double()(u.double(), time + 100)).abs().max()) > 1e-3


def test_what_knows_more_than_the_time_is_left_alone():
    fourier = network_of({**OWN, "time_embedding_type": "fourier"})
    classes = network_of({**OWN, "num_class_embeds": 3})
    assert settle(fourier, TIME) is None and settle(classes, TIME) is None
    assert settle(torch.nn.Conv2d(3, 3, 1), TIME) is None


TOY = Diffusion(widths=(8, 16), attention=(1,), head_dim=8, groups=4, layers=1, steps=1000)


def pair(spec: Diffusion = TOY) -> DenoiseThenClassify:
    torch.manual_seed(0)
    return DenoiseThenClassify(spec.build(INFO, 0.5), classifier()).eval().requires_grad_(False)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_a_pair_is_sampled_settled_and_fused(prediction):
    whole, x = pair(TOY.model_copy(update={"prediction": prediction})), torch.rand(8, 1, 8, 8)
    base = BaseClassifier(whole, shape=INFO.shape, classes=10)
    kinds = [type(part) for part in base.network.modules()]
    assert base.describe()["settled"] is True and base.describe()["dropped"] == "none"
    assert kinds.count(SettledOneShot) == kinds.count(SettledUNet) == 1
    assert SettledBlock in kinds and SettledAttention in kinds
    if torch.backends.mkldnn.is_available():
        assert kinds.count(FusedConv2d) >= kinds.count(SettledBlock)
    with torch.inference_mode():
        wanted = copy.deepcopy(whole).double()(x.double())
        found = base.logits(base.prepare(x))
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_as_close_as_the_network_itself_in_bfloat16():
    whole, x = pair(), torch.rand(64, 1, 8, 8)
    base = BaseClassifier(whole, Inference(precision="bfloat16"), shape=INFO.shape, classes=10)
    with torch.inference_mode():
        exact = copy.deepcopy(whole).double()(x.double())
        plain = copy.deepcopy(whole).bfloat16()(x.bfloat16()).double()
        found = base.logits(base.prepare(x)).double()
    assert (found - exact).square().mean() <= 2 * (plain - exact).square().mean()


def test_a_network_that_is_not_to_be_folded_keeps_its_time():
    base = BaseClassifier(pair(), Inference(fold=False), shape=INFO.shape, classes=10)
    assert base.describe()["settled"] is False and base.describe()["dropped"] == "none"


def test_a_denoiser_that_can_still_be_told_anything_does_not_settle():
    assert TOY.build(INFO, None).eval().settled() is None
    assert TOY.build(INFO, 0.5).train().settled() is None


class Liar(torch.nn.Module):
    """Says of itself that it is something else."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))

    def settled(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))


def test_what_a_part_says_of_itself_is_not_trusted():
    torch.manual_seed(0)
    base = BaseClassifier(torch.nn.Sequential(Liar()), shape=INFO.shape, classes=10)
    assert base.describe()["settled"] is False and base.describe()["dropped"] == "settle"
