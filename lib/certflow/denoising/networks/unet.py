"""The U-Net of diffusion models, as the diffusers library has it, called with a time between steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import nn


class UNet(nn.Module):
    """(u [rows, channels, height, width], times float32 [rows] or [1]) → the network's prediction, a plain tensor.

    `config` holds the settings of diffusers' `UNet2DModel`; weights bear its names.
    """

    def __init__(self, config: Mapping[str, Any]):
        from diffusers.models.unets.unet_2d import UNet2DModel

        super().__init__()
        self.unet = UNet2DModel(**{key: tuple(v) if isinstance(v, list) else v for key, v in config.items()})

    def forward(
        self, u: Float[torch.Tensor, "rows channels height width"], time: Float[torch.Tensor, " times"]
    ) -> Float[torch.Tensor, "rows outputs height width"]:
        return self.unet(u, time, return_dict=False)[0]


def settings(
    channels: int,
    side: int,
    *,
    widths: Sequence[int],
    layers: int,
    attention: Sequence[int],
    head_dim: int,
    groups: int,
    dropout: float,
) -> dict[str, Any]:
    """Settings of a network of the kind of Nichol and Dhariwal (2021): scale-shift by the time, attention where wanted.

    widths: channels of each level, each at half the resolution of the one before. attention: levels that have it, from 0.
    """
    marks = ["Attn" if level in attention else "" for level in range(len(widths))]
    return {
        "sample_size": side,
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": list(widths),
        "layers_per_block": layers,
        "down_block_types": [f"{mark}DownBlock2D" for mark in marks],
        "up_block_types": [f"{mark}UpBlock2D" for mark in reversed(marks)],
        "attention_head_dim": head_dim,
        "norm_num_groups": groups,
        "attn_norm_num_groups": groups,
        "norm_eps": 1e-5,
        "dropout": dropout,
        "resnet_time_scale_shift": "scale_shift",
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "downsample_padding": 1,
    }
