"""A checkpoint in the layout of the splitting-noise code: names of a parallel wrapper, and the normalisation beside it."""

import torch

from certflow.data.base import DataInfo
from certflow.kinds.registry import spec_class
from certflow.models import build, load_checkpoint

CIFAR = DataInfo(10, (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def test_a_checkpoint_of_the_published_layout_is_the_same_function(tmp_path):
    torch.manual_seed(3)
    spec = spec_class("model", "wide_resnet")(depth=40, width=2)
    ours = build(spec, CIFAR).eval()
    mine = ours.state_dict()
    theirs = {f"model.module.{name[2:]}": value for name, value in mine.items() if name.startswith("1.")}
    theirs["norm.module.mu"] = torch.tensor(CIFAR.mean).view(3, 1, 1)
    theirs["norm.module.sigma"] = torch.tensor(CIFAR.sd).view(3, 1, 1)
    torch.save(theirs, tmp_path / "model_ckpt.torch")
    loaded = load_checkpoint(tmp_path / "model_ckpt.torch", model="wide_resnet40_2")
    x = torch.rand(4, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(x), ours(x))
