"""Diffusion models made elsewhere: OpenAI's checkpoints under diffusers' names, folders of the diffusers library, hubs."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from denoising_examples import INFO
from pydantic import ValidationError

from certflow.data.base import DataInfo
from certflow.denoising import openai
from certflow.denoising.kinds.diffusion import Diffusion
from certflow.denoising.networks.unet import UNet
from certflow.errors import ArtefactError

COMMIT = "0123456789" * 4


def shapes(channels, outputs, base, mult, layers, attention, resnet_style):
    """Names and shapes of an OpenAI U-Net, written down from its definition: (name, shape) of every tensor."""
    found, time = {}, 4 * base

    def layer(name, outside, inside, *kernel):
        found[f"{name}.weight"], found[f"{name}.bias"] = (outside, inside, *kernel), (outside,)

    def norm(name, width):
        found[f"{name}.weight"] = found[f"{name}.bias"] = (width,)

    def residual(name, inside, outside):
        norm(f"{name}.in_layers.0", inside)
        layer(f"{name}.in_layers.2", outside, inside, 3, 3)
        layer(f"{name}.emb_layers.1", 2 * outside, time)
        norm(f"{name}.out_layers.0", outside)
        layer(f"{name}.out_layers.3", outside, outside, 3, 3)
        if inside != outside:
            layer(f"{name}.skip_connection", outside, inside, 1, 1)

    def attend(name, width):
        norm(f"{name}.norm", width)
        layer(f"{name}.qkv", 3 * width, width, 1)
        layer(f"{name}.proj_out", width, width, 1)

    layer("time_embed.0", time, base)
    layer("time_embed.2", time, time)
    layer("input_blocks.0.0", base, channels, 3, 3)
    width, kept, n = base, [base], 1
    for level, factor in enumerate(mult):
        for _ in range(layers):
            residual(f"input_blocks.{n}.0", width, base * factor)
            width = base * factor
            if level in attention:
                attend(f"input_blocks.{n}.1", width)
            kept.append(width)
            n += 1
        if level < len(mult) - 1:
            if resnet_style:
                residual(f"input_blocks.{n}.0", width, width)
            else:
                layer(f"input_blocks.{n}.0.op", width, width, 3, 3)
            kept.append(width)
            n += 1
    residual("middle_block.0", width, width)
    attend("middle_block.1", width)
    residual("middle_block.2", width, width)
    n = 0
    for level, factor in reversed(list(enumerate(mult))):
        for j in range(layers + 1):
            residual(f"output_blocks.{n}.0", width + kept.pop(), base * factor)
            width = base * factor
            if level in attention:
                attend(f"output_blocks.{n}.1", width)
            if level > 0 and j == layers:
                slot = f"output_blocks.{n}.{2 if level in attention else 1}"
                if resnet_style:
                    residual(slot, width, width)
                else:
                    layer(f"{slot}.conv", width, width, 3, 3)
            n += 1
    norm("out.0", base)
    layer("out.2", outputs, base, 3, 3)
    return found


CIFAR = {"base": 128, "mult": (1, 2, 2, 2), "layers": 3, "attention": (1, 2), "resnet_style": False}
IMAGENET = {"base": 256, "mult": (1, 1, 2, 2, 4, 4), "layers": 2, "attention": (3, 4, 5), "resnet_style": True}


@pytest.mark.parametrize(
    "size, side, parameters", [(CIFAR, 32, 52_546_438), (IMAGENET, 256, 552_814_086)], ids=["cifar10", "imagenet"]
)
def test_published_networks_are_recognised_and_mapped_one_to_one(size, side, parameters):
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes(3, 6, **size).items()}
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    found = openai.layout(state, "file")
    widths = tuple(size["base"] * factor for factor in size["mult"])
    assert (found.channels, found.outputs, found.widths, found.layers) == (3, 6, widths, size["layers"])
    assert found.attention == tuple(level in size["attention"] for level in range(len(widths)))
    assert (found.resnet_style, found.scale_shift) == (size["resnet_style"], True)
    converted = openai.convert(state, found, 64, "file")
    with torch.device("meta"):
        wanted = UNet(found.settings(side, 64)).unet.state_dict()
    assert {key: tensor.shape for key, tensor in converted.items()} == {key: t.shape for key, t in wanted.items()}


TOYS = {
    "conv": {"base": 8, "mult": (1, 2), "layers": 1, "attention": (1,), "resnet_style": False},
    "resnet": {"base": 8, "mult": (1, 1, 2), "layers": 2, "attention": (2,), "resnet_style": True},
}
HEAD, GROUPS = 8, 4


def toy(style, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = shapes(1, 2, **TOYS[style])
    return {
        key: 0.3 * torch.randn(shape, generator=generator) + (key.endswith("0.weight") and len(shape) == 1)
        for key, shape in found.items()
    }


class Functional:
    """The network's formulas (Dhariwal and Nichol 2021, appendix; heads of width HEAD), straight from its tensors."""

    def __init__(self, state, size):
        self.state, self.size = state, size

    def layer(self, name, x):
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        kind = {2: F.linear, 3: F.conv1d}.get(weight.dim())
        return kind(x, weight, bias) if kind else F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def norm(self, name, x):
        return F.group_norm(x, GROUPS, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def residual(self, name, x, emb, resize=None):
        resize = resize or (lambda image: image)
        h = self.layer(f"{name}.in_layers.2", resize(F.silu(self.norm(f"{name}.in_layers.0", x))))
        scale, shift = self.layer(f"{name}.emb_layers.1", F.silu(emb))[:, :, None, None].chunk(2, 1)
        h = self.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift
        h = self.layer(f"{name}.out_layers.3", F.silu(h))
        x = resize(x)
        return h + (self.layer(f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in self.state else x)

    def attend(self, name, x):
        rows, width, height, side = x.shape
        flat = self.layer(f"{name}.qkv", self.norm(f"{name}.norm", x.flatten(2)))
        out = []
        for head in flat.split(3 * HEAD, dim=1):  # [rows, 3·HEAD, pixels]: queries, keys, values of one head
            query, key, value = head.split(HEAD, dim=1)
            share = torch.softmax(query.transpose(1, 2) @ key / math.sqrt(HEAD), dim=-1)
            out.append(value @ share.transpose(1, 2))
        return x + self.layer(f"{name}.proj_out", torch.cat(out, 1)).view(rows, width, height, side)

    def change(self, name, x, emb, down):
        if f"{name}.in_layers.0.weight" in self.state:
            return self.residual(
                name, x, emb, (lambda i: F.avg_pool2d(i, 2)) if down else (lambda i: F.interpolate(i, scale_factor=2))
            )
        if down:
            return F.conv2d(x, self.state[f"{name}.op.weight"], self.state[f"{name}.op.bias"], stride=2, padding=1)
        return self.layer(f"{name}.conv", F.interpolate(x, scale_factor=2))

    def __call__(self, u, time):
        size, half = self.size, self.size["base"] // 2
        angles = time[:, None] * torch.exp(-math.log(10_000) * torch.arange(half) / half)
        emb = self.layer("time_embed.0", torch.cat([angles.cos(), angles.sin()], 1))
        emb = self.layer("time_embed.2", F.silu(emb))
        x, per, last = self.layer("input_blocks.0.0", u), size["layers"] + 1, len(size["mult"]) - 1
        kept = [x]
        for level in range(last + 1):
            for n in range(1 + level * per, (level + 1) * per):
                x = self.residual(f"input_blocks.{n}.0", x, emb)
                x = self.attend(f"input_blocks.{n}.1", x) if level in size["attention"] else x
                kept.append(x)
            if level < last:
                x = self.change(f"input_blocks.{(level + 1) * per}.0", x, emb, down=True)
                kept.append(x)
        x = self.attend("middle_block.1", self.residual("middle_block.0", x, emb))
        x = self.residual("middle_block.2", x, emb)
        for up, level in enumerate(range(last, -1, -1)):
            for n in range(up * per, (up + 1) * per):
                x = self.residual(f"output_blocks.{n}.0", torch.cat([x, kept.pop()], 1), emb)
                x = self.attend(f"output_blocks.{n}.1", x) if level in size["attention"] else x
            if level > 0:
                x = self.change(f"output_blocks.{n}.{2 if level in size['attention'] else 1}", x, emb, down=False)
        return self.layer("out.2", F.silu(self.norm("out.0", x)))


@pytest.mark.parametrize("style", sorted(TOYS))
def test_converted_networks_compute_what_the_originals_compute(style):
    state, size = toy(style), TOYS[style]
    found = openai.layout(state, "file")
    network = UNet(found.settings(8, HEAD, GROUPS)).eval()
    network.unet.load_state_dict(openai.convert(state, found, HEAD, "file"))
    torch.manual_seed(1)
    u, time = torch.randn(2, 1, 8, 8), torch.tensor([12.25, 737.5])
    with torch.inference_mode():
        mine, theirs = network(u, time), Functional(state, size)(u, time)
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
        # The rearrangement of heads matters: one head as wide as all of them loads as well, and is wrong.
        wrong = openai.convert(state, found, 2 * HEAD, "file")
        network.unet.load_state_dict(wrong)
        assert float((network(u, time) - theirs).abs().max()) > 1e-2


def test_the_rearrangement_of_heads_is_a_permutation():
    heads, width = 3, 4
    rows = torch.arange(3 * heads * width)
    parts = openai.split_heads(rows[:, None], width)
    assert sorted(torch.cat(parts).flatten().tolist()) == rows.tolist()
    back = torch.stack([part.view(heads, width) for part in parts], 1).flatten()
    assert torch.equal(back, rows)
    # Query, key and value of head h start at row 3·h·width + (0, 1, 2)·width.
    assert [part.view(heads, width)[1, 0].item() for part in parts] == [12, 16, 20]


SPEC = {"head_dim": HEAD, "groups": GROUPS, "widths": (8, 16), "attention": (1,), "schedule": "cosine", "steps": 4000}


def test_a_checkpoint_becomes_a_denoiser(tmp_path):
    state = toy("conv")
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "model.pt")
    spec = Diffusion(**SPEC, weights=str(tmp_path / "model.pt"), time_scale=0.25)
    denoiser, notes = spec.load_weights(INFO, 0.25)
    assert denoiser.time == pytest.approx(1157.513 / 4, abs=1e-3)
    y = torch.rand(2, 1, 8, 8)
    half = {key: value.half().float() for key, value in state.items()}
    with torch.inference_mode():
        epsilon = Functional(half, TOYS["conv"])(math.sqrt(0.8) * (2 * y - 1), torch.tensor([denoiser.time]))[:, :1]
        torch.testing.assert_close(denoiser.eval()(y), (y - 0.25 * epsilon).clamp(0, 1), rtol=1e-4, atol=1e-4)
    again = Diffusion(**SPEC).build(INFO, 0.25, json.loads(json.dumps(notes)))
    again.load_state_dict(denoiser.state_dict())
    assert len(notes["sha256"]) == 64


def broken(change):
    state = toy("conv")
    change(state)
    return state


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("middle_block.1.qkv.bias"), "lacks middle_block.1.qkv.bias, which a U-Net with channels"),
        (lambda s: s.update({"extra.weight": torch.zeros(1)}), "has not: extra.weight"),
        (
            lambda s: s.update({"label_emb.weight": torch.zeros(10, 32)}),
            "conditioned on the class.*; take an unconditional",
        ),
        (lambda s: s.pop("time_embed.0.weight"), "is not a checkpoint of OpenAI's U-Nets"),
        (lambda s: s.update({"out.0.bias": torch.full((8,), math.nan)}), "NaN or infinite"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(tmp_path, change, message):
    torch.save(broken(change), tmp_path / "model.pt")
    with pytest.raises(ArtefactError, match=message):
        Diffusion(**SPEC, weights=str(tmp_path / "model.pt")).load_weights(INFO, 0.25)


def test_a_gray_model_is_refused_for_colour(tmp_path):
    torch.save(toy("conv"), tmp_path / "model.pt")
    spec = Diffusion(**SPEC, weights=str(tmp_path / "model.pt"))
    with pytest.raises(ArtefactError, match="takes images of 1 channels .* the data have 3 .*; take a model"):
        spec.load_weights(DataInfo(classes=10, shape=(3, 8, 8)), 0.25)


def folder(path, pipeline=False, **scheduler):
    """A folder as the diffusers library writes it."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    torch.manual_seed(3)
    home = path / "unet" if pipeline else path
    settings = Diffusion(widths=(8, 16), head_dim=8, groups=4, layers=1)._settings(INFO)
    model = UNet2DModel(**settings)
    model.save_pretrained(home)
    said = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "num_train_timesteps": 1000, **scheduler}
    place = path / "scheduler" if pipeline else path
    place.mkdir(parents=True, exist_ok=True)
    (place / "scheduler_config.json").write_text(json.dumps(said))
    return model.eval()


@pytest.mark.parametrize("pipeline", [False, True])
def test_a_folder_becomes_a_denoiser(tmp_path, pipeline):
    model = folder(tmp_path, pipeline, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    spec = Diffusion(weights=str(tmp_path))
    denoiser, notes = spec.load_weights(INFO, 0.5)
    assert notes["schedule"] == {"kind": "cosine", "steps": 1000} and denoiser.prediction == "v_prediction"
    assert len(spec.files()) == 3
    y = torch.rand(2, 1, 8, 8)
    with torch.inference_mode():
        u = math.sqrt(0.5) * (2 * y - 1)
        v = model(u, torch.tensor([denoiser.time])).sample
        wanted = ((math.sqrt(0.5) * u - math.sqrt(0.5) * v + 1) / 2).clamp(0, 1)
        torch.testing.assert_close(denoiser.eval()(y), wanted, rtol=0, atol=1e-5)


def saying(name, said):
    """Writes settings into a file of a folder."""
    return lambda folder: (folder / name).write_text(json.dumps(said))


def also(name, said):
    """Adds settings to those in a file of a folder."""
    return lambda folder: (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **said}))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "diffusion_pytorch_model.safetensors").unlink(), "holds no weights"),
        (lambda f: (f / "config.json").unlink(), "it has neither config.json nor unet/config.json"),
        (lambda f: (f / "config.json").write_text("{"), "is damaged"),
        (
            lambda f: (f / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}'),
            "a UNet2DModel is needed; take an unconditional model",
        ),
        (
            lambda f: (f / "scheduler_config.json").write_text('{"beta_schedule": "sigmoid"}'),
            "its schedule is 'sigmoid'",
        ),
        (saying("scheduler_config.json", {"sigma_min": 0.01, "num_train_timesteps": 2000}), "its schedule is 'None'"),
        (
            saying("scheduler_config.json", {"beta_schedule": "linear", "rescale_betas_zero_snr": True}),
            "its schedule is 'linear' with rescale_betas_zero_snr",
        ),
        (
            saying("scheduler_config.json", {"beta_schedule": "linear", "num_train_timesteps": "1000"}),
            "scheduler_config.json: is damaged",
        ),
        (
            saying("scheduler_config.json", {"beta_schedule": "linear", "beta_end": 3.0}),
            "scheduler_config.json: .* betas go from 0.0001 to 3",
        ),
        (also("config.json", {"of_a_newer_version": 1}), "config.json: .* unexpected keyword .*of_a_newer_version"),
        (
            also("config.json", {"down_block_types": ["DownBlock2D"]}),
            "config.json: .* same number of `down_block_types`",
        ),
        (saying("config.json", {"sample_size": 8}), "config.json: does not state block_out_channels, in_channels"),
    ],
)
def test_folders_that_are_not_whole_are_refused(tmp_path, spoil, message):
    folder(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ArtefactError, match=message):
        Diffusion(weights=str(tmp_path)).load_weights(INFO, 0.5)


@pytest.mark.parametrize("revision", [None, "main", "0" * 39])
def test_a_model_of_a_hub_is_named_with_its_commit(revision):
    """A name, or a branch, stands for another model tomorrow."""
    with pytest.raises(ValidationError, match="hub_revision: say which commit of some/model"):
        Diffusion(hub="some/model", hub_revision=revision)


def test_nothing_is_fetched_unless_allowed(tmp_path, monkeypatch):
    import huggingface_hub

    asked = {}

    def snapshot(name, **options):
        asked.update(options, name=name)
        raise huggingface_hub.errors.LocalEntryNotFoundError("nothing here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(
        ArtefactError, match="some/model is not in the cache, and `download` is off .*models--some--model"
    ):
        Diffusion(hub="some/model", hub_revision=COMMIT).load_weights(INFO, 0.5)
    assert (asked["local_files_only"], asked["name"], asked["revision"]) == (True, "some/model", COMMIT)
    with pytest.raises(ArtefactError, match="could not be fetched"):
        Diffusion(hub="some/model", hub_revision=COMMIT, download=True).load_weights(INFO, 0.5)
    assert asked["local_files_only"] is False


def test_a_level_beyond_the_schedule_is_refused(tmp_path):
    folder(tmp_path)
    with pytest.raises(ValueError, match="up to 78.7"):
        Diffusion(weights=str(tmp_path)).load_weights(INFO, 80.0)
    assert Diffusion(weights=str(tmp_path)).level_problems(80.0 * 1.2)
