"""One small model of each of many timm families, stored as training scripts store them: imported, examined and certified."""

import argparse

import numpy as np
import pytest
import torch
from models_examples import ArraySplit, spec

from certflow import SmoothedClassifier
from certflow.data.base import DataInfo
from certflow.kinds.registry import spec_class
from certflow.models import import_model
from certflow.models.published import load_weights
from certflow.noise import Gaussian

pytestmark = pytest.mark.slow

SMALL = {"img_size": 32, "patch_size": 8}
FAMILIES = {
    "ViT": ("vit_tiny_patch16_224", 32, {"depth": 2, **SMALL}),
    "DeiT": ("deit_tiny_distilled_patch16_224", 32, {"depth": 2, **SMALL}),
    "BEiT": ("beit_base_patch16_224", 32, {"depth": 2, "embed_dim": 96, "num_heads": 3, **SMALL}),
    "CaiT": ("cait_xxs24_224", 32, {"depth": 2, **SMALL}),
    "Swin": (
        "swin_tiny_patch4_window7_224",
        32,
        {"depths": [1, 1], "num_heads": [2, 4], "patch_size": 2, "window_size": 4, "embed_dim": 24},
    ),
    "Swin V2": (
        "swinv2_tiny_window8_256",
        32,
        {"depths": [1, 1], "num_heads": [2, 4], "patch_size": 2, "window_size": 4, "embed_dim": 24},
    ),
    "ConvNeXt": ("convnext_atto", 32, {"depths": [1, 1, 1, 1]}),
    "EfficientNet": ("efficientnet_b0", 32, {}),
    "MobileNet": ("mobilenetv3_small_050", 32, {}),
    "RegNet": ("regnetx_002", 32, {}),
    "Mixer": ("mixer_s32_224", 64, {}),
    "VOLO": ("volo_d1_224", 64, {}),
    "EVA": ("eva02_tiny_patch14_224", 32, {"depth": 2, **SMALL}),
    "LeViT": ("levit_128s", 64, {}),
}


def timm_trainer(network, path):
    """`timm.utils.CheckpointSaver` as timm's train.py calls it: optimiser, arguments, running averages beside the weights."""
    from timm.utils import CheckpointSaver, ModelEmaV3

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    average = ModelEmaV3(network)
    for tensor in average.module.state_dict().values():
        tensor.mul_(0 if tensor.is_floating_point() else 1)
    args = argparse.Namespace(model="net", lr=0.1, betas=(0.9, 0.99), data_dir=None)
    saver = CheckpointSaver(
        network, optimizer, args=args, model_ema=average, checkpoint_dir=str(path.parent), recovery_dir=str(path.parent)
    )
    saver.save_checkpoint(epoch=3, metric=0.5)
    (path.parent / "last.pth.tar").rename(path)


def lightning(network, path):
    """A checkpoint as PyTorch Lightning writes it."""
    torch.save(
        {
            "epoch": 3,
            "global_step": 1000,
            "pytorch-lightning_version": "2.2.0",
            "state_dict": {f"model.{name}": tensor for name, tensor in network.state_dict().items()},
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5), "best_k_models": {}}},
            "optimizer_states": [torch.optim.AdamW(network.parameters()).state_dict()],
            "lr_schedulers": [],
            "hyper_parameters": {"config": argparse.Namespace(lr=0.1), "lr": 0.1},
        },
        path,
    )


def compiled_and_parallel(network, path):
    """A compiled model in a data-parallel wrapper."""
    state = torch.compile(network).state_dict()
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}, path)


def old_format(network, path):
    """As `torch.save` wrote it until 2020."""
    torch.save({"net": network.state_dict(), "acc": np.float64(0.5)}, path, _use_new_zipfile_serialization=False)


LAYOUTS = (timm_trainer, lightning, compiled_and_parallel, old_format)
LARGE = 10_000_000
"""Parameters of networks that are stored in one layout only, since timm has no smaller one of the family."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_the_family_is_imported_and_certified(tmp_path, family):
    name, size, settings = FAMILIES[family]
    info, model = DataInfo(10, (3, size, size)), spec("timm", name=name, settings=settings, normalise="none")
    torch.manual_seed(0)
    network = model.backbone(info)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 3, size, size), dtype=np.uint8)
    x = torch.as_tensor(images, dtype=torch.float32) / 255
    with torch.no_grad():
        wanted = network.eval()(x)
    layouts = LAYOUTS if sum(tensor.numel() for tensor in network.parameters()) < LARGE else LAYOUTS[:1]
    for layout in layouts:
        path = tmp_path / layout.__name__
        layout(network, path)
        found = load_weights(path, model, info).module
        with torch.no_grad():
            assert torch.equal(found(x), wanted), layout.__name__
    external = spec_class("method", "external")(checkpoint="unused")
    path = tmp_path / LAYOUTS[0].__name__
    split = ArraySplit(images, np.arange(2))
    brought, notes = import_model(path, external, model, info, split, Gaussian(sigma=0.25), 0)
    assert "args (argparse.Namespace)" in notes["beside"] and notes["other_weights"] == ["state_dict_ema"]
    table = SmoothedClassifier(brought, Gaussian(sigma=0.25), classes=10, device="cpu").certify(
        images, n0=10, n=50, quiet=True
    )
    assert len(table) == 2 and table["n"].eq(50).all() and table["k"].between(0, 50).all()
