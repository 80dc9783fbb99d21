"""Checkpoints of `openai/improved-diffusion` and `openai/guided-diffusion` under the names of diffusers' `UNet2DModel`.

The layout is read off names and shapes; only the width of an attention head cannot be read from a file. Their queries, keys
and values lie in one tensor with rows [head][query, key, value][dim], and have to be rearranged: without that the weights load
without any error, and the network is wrong.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from certflow.errors import ArtefactError

State = Mapping[str, torch.Tensor]
GROUPS = 32
"""Groups of every group normalisation."""


@dataclass(frozen=True)
class Layout:
    """How such a network is built. `attention[i]`, `widths[i]`: of level i, whose resolution is 2^-i of the image's."""

    channels: int
    outputs: int
    widths: tuple[int, ...]
    layers: int
    attention: tuple[bool, ...]
    resnet_style: bool
    """Changes of resolution are residual blocks instead of convolutions."""
    scale_shift: bool

    @property
    def levels(self) -> int:
        return len(self.widths)

    def settings(self, side: int, head_dim: int, groups: int = GROUPS) -> dict[str, Any]:
        """Settings of diffusers' `UNet2DModel` for images of that side, in pixels."""
        plain = (
            ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if self.resnet_style else ("DownBlock2D", "UpBlock2D")
        )
        style = "resnet" if self.resnet_style else "conv"
        return {
            "sample_size": side,
            "in_channels": self.channels,
            "out_channels": self.outputs,
            "block_out_channels": list(self.widths),
            "layers_per_block": self.layers,
            "down_block_types": ["AttnDownBlock2D" if attends else plain[0] for attends in self.attention],
            "up_block_types": ["AttnUpBlock2D" if attends else plain[1] for attends in reversed(self.attention)],
            "downsample_type": style,
            "upsample_type": style,
            "downsample_padding": 1,
            "attention_head_dim": head_dim,
            "norm_num_groups": groups,
            "attn_norm_num_groups": groups,
            "norm_eps": 1e-5,
            "resnet_time_scale_shift": "scale_shift" if self.scale_shift else "default",
            "flip_sin_to_cos": True,
            "freq_shift": 0,
        }


def is_openai(state: State) -> bool:
    """Whether names are those of such a checkpoint."""
    return "time_embed.0.weight" in state and "input_blocks.0.0.weight" in state


def layout(state: State, path: str | Path) -> Layout:
    """What the names and shapes of a checkpoint show; `ArtefactError` where they are of no such network."""
    if "label_emb.weight" in state:
        raise ArtefactError(
            f"{path}: is conditioned on the class, which a denoiser must not know; take an unconditional one"
        )
    try:
        blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("output_blocks."))
        levels = 1 + sum(_enlarges(state, n) for n in range(blocks))
        layers = blocks // levels - 1
        first = [1 + level * (layers + 1) for level in range(levels)]
        widths = tuple(len(state[f"input_blocks.{n}.0.out_layers.3.weight"]) for n in first)
        return Layout(
            channels=state["input_blocks.0.0.weight"].shape[1],
            outputs=len(state["out.2.weight"]),
            widths=widths,
            layers=layers,
            attention=tuple(f"input_blocks.{n}.1.qkv.weight" in state for n in first),
            resnet_style=levels > 1 and not any(key.endswith(".0.op.weight") for key in state),
            scale_shift=len(state["input_blocks.1.0.emb_layers.1.weight"]) == 2 * widths[0],
        )
    except (KeyError, ValueError, IndexError) as error:
        raise ArtefactError(f"{path}: its names are not those of an OpenAI U-Net ({error} is missing)") from None


def convert(state: State, found: Layout, head_dim: int, path: str | Path) -> dict[str, torch.Tensor]:
    """The same weights, float32, under diffusers' names. `ArtefactError` names keys that the layout does not have."""
    rest = {key: value.float() for key, value in state.items()}
    result: dict[str, torch.Tensor] = {}
    try:
        for source, target in pairs(found):
            for part in ("weight", "bias"):
                result[f"{target}.{part}"] = rest.pop(f"{source}.{part}")
        for source, target in attentions(found):
            result |= _attention(rest, source, target, head_dim, path)
    except KeyError as error:
        raise ArtefactError(f"{path}: lacks {error.args[0]}, which {_words(found)} has") from None
    if rest:
        raise ArtefactError(f"{path}: has weights that {_words(found)} has not: {', '.join(list(rest)[:10])}")
    return result


def split_heads(qkv: torch.Tensor, head_dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values [heads·dim, ...] from rows ordered [head][query, key, value][dim]."""
    query, key, value = qkv.unflatten(0, (-1, 3, head_dim)).transpose(0, 1).flatten(1, 2)
    return query, key, value


def _attention(
    rest: dict[str, torch.Tensor], source: str, target: str, head_dim: int, path: str | Path
) -> dict[str, torch.Tensor]:
    """The weights of one attention, taken out of `rest`. Convolutions of width 1 become linear layers."""
    result = {}
    for part in ("weight", "bias"):
        result[f"{target}.group_norm.{part}"] = rest.pop(f"{source}.norm.{part}")
        out, qkv = rest.pop(f"{source}.proj_out.{part}"), rest.pop(f"{source}.qkv.{part}")
        if len(qkv) % (3 * head_dim):
            heads = f"no multiple of 3 heads of width {head_dim}"
            raise ArtefactError(f"{path}: {source}.qkv has {len(qkv)} rows, {heads}; set head_dim")
        result[f"{target}.to_out.0.{part}"] = out.flatten(1) if part == "weight" else out
        for name, rows in zip(("to_q", "to_k", "to_v"), split_heads(qkv, head_dim), strict=True):
            result[f"{target}.{name}.{part}"] = rows.flatten(1) if part == "weight" else rows
    return result


def _enlarges(state: State, n: int) -> bool:
    """Whether output block n enlarges the image."""
    names = [f"output_blocks.{n}.{slot}.{name}" for slot in (1, 2) for name in ("conv.weight", "in_layers.0.weight")]
    return any(name in state for name in names)


def pairs(found: Layout) -> Iterator[tuple[str, str]]:
    """(their name, diffusers' name) of every layer with weight and bias outside attentions."""
    yield "time_embed.0", "time_embedding.linear_1"
    yield "time_embed.2", "time_embedding.linear_2"
    yield "input_blocks.0.0", "conv_in"
    yield "out.0", "conv_norm_out"
    yield "out.2", "conv_out"
    yield from _down(found)
    yield from _residual("middle_block.0", "mid_block.resnets.0", False)
    yield from _residual("middle_block.2", "mid_block.resnets.1", False)
    yield from _up(found)


def _down(found: Layout) -> Iterator[tuple[str, str]]:
    inside = found.widths[0]
    for level, width in enumerate(found.widths):
        for j in range(found.layers):
            source = f"input_blocks.{1 + level * (found.layers + 1) + j}.0"
            yield from _residual(source, f"down_blocks.{level}.resnets.{j}", inside != width)
            inside = width
        if level < found.levels - 1:
            source = f"input_blocks.{(level + 1) * (found.layers + 1)}.0"
            yield from _change(source, f"down_blocks.{level}.downsamplers.0", "op", found.resnet_style)


def _up(found: Layout) -> Iterator[tuple[str, str]]:
    for up, level in enumerate(reversed(range(found.levels))):
        for j in range(found.layers + 1):
            n = up * (found.layers + 1) + j
            # What comes in is wider by the skip connection, so there always is a shortcut.
            yield from _residual(f"output_blocks.{n}.0", f"up_blocks.{up}.resnets.{j}", True)
            if j == found.layers and level > 0:
                source = f"output_blocks.{n}.{2 if found.attention[level] else 1}"
                yield from _change(source, f"up_blocks.{up}.upsamplers.0", "conv", found.resnet_style)


def _change(source: str, target: str, name: str, resnet_style: bool) -> Iterator[tuple[str, str]]:
    """A change of resolution: a residual block, or one convolution."""
    if resnet_style:
        yield from _residual(source, target, False)
    else:
        yield f"{source}.{name}", f"{target}.conv"


def _residual(source: str, target: str, shortcut: bool) -> Iterator[tuple[str, str]]:
    names = {
        "in_layers.0": "norm1",
        "in_layers.2": "conv1",
        "emb_layers.1": "time_emb_proj",
        "out_layers.0": "norm2",
        "out_layers.3": "conv2",
    }
    if shortcut:
        names["skip_connection"] = "conv_shortcut"
    for theirs, ours in names.items():
        yield f"{source}.{theirs}", f"{target}.{ours}"


def attentions(found: Layout) -> Iterator[tuple[str, str]]:
    """(their name, diffusers' name) of every attention."""
    yield "middle_block.1", "mid_block.attentions.0"
    for level in range(found.levels):
        if found.attention[level]:
            for j in range(found.layers):
                yield f"input_blocks.{1 + level * (found.layers + 1) + j}.1", f"down_blocks.{level}.attentions.{j}"
            up = found.levels - 1 - level
            for j in range(found.layers + 1):
                yield f"output_blocks.{up * (found.layers + 1) + j}.1", f"up_blocks.{up}.attentions.{j}"


def _words(found: Layout) -> str:
    attending = [level for level, attends in enumerate(found.attention) if attends]
    return (
        f"a U-Net with channels {list(found.widths)}, {found.layers} blocks per level, attention at levels {attending}, "
        f"{'residual' if found.resnet_style else 'convolutional'} changes of resolution"
    )
