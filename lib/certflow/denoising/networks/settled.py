"""A U-Net of the diffusers library at one fixed time: what depends on the time alone is computed once, in float64.

A residual block adds a projection of the time to its features, or scales and shifts them by it after its second normalisation.
At one time these are constants of a channel, and go into the bias of the convolution or into weight and bias of the
normalisation that come before. The rest is the same network with fewer passes through memory: residuals are added where a
convolution can do it, queries, keys and values come from one product, no image is enlarged before it is convolved.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from certflow.denoising.networks.unet import UNet
from certflow.models.fast.added import AddedConv2d
from certflow.models.fast.folding import parameter_like

Images = Float[torch.Tensor, "rows channels height width"]


class SettledUNet(nn.Module):
    """u [rows, channels, height, width] → the network's prediction at its one time."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, u: Images) -> Images:
        return self.unet(u, u.new_zeros(1), return_dict=False)[0]  # its parts ignore the time it is given


class SettledBlock(nn.Module):
    """A residual block of diffusers' `ResnetBlock2D` with the time inside its weights."""

    def __init__(self, block: Any, embedding: Float[torch.Tensor, "one embedding"]):
        super().__init__()
        self.first = nn.Sequential(block.norm1, block.nonlinearity)
        self.second = nn.Sequential(block.norm2, block.nonlinearity)
        self.conv1 = block.conv1
        self.resample = block.downsample if block.upsample is None else block.upsample
        self.shortcut, self.conv2 = block.conv_shortcut, AddedConv2d(block.conv2)
        self.divisor = float(block.output_scale_factor)
        if block.time_emb_proj is not None:
            embedded = embedding if block.skip_time_act else block.nonlinearity(embedding)
            self._absorb(copy.deepcopy(block.time_emb_proj).double()(embedded)[0], block.time_embedding_norm)

    def _absorb(self, embedded: Float[torch.Tensor, " values"], way: str) -> None:
        if way == "default":
            self.conv1.bias = parameter_like(self.conv1.bias.double() + embedded, self.conv1.bias)
            return
        norm: Any = self.second[0]
        scale, shift = embedded.chunk(2)
        norm.bias = parameter_like(norm.bias.double() * (1 + scale) + shift, norm.bias)
        norm.weight = parameter_like(norm.weight.double() * (1 + scale), norm.weight)

    def forward(self, x: Images, temb: torch.Tensor | None = None) -> Images:
        h = self.first(x)
        if self.resample is not None:
            x, h = self.resample(x), self.resample(h)
        h = self.second(self.conv1(h))
        out = self.conv2(h, x if self.shortcut is None else self.shortcut(x))
        return out if self.divisor == 1 else out / self.divisor


class SettledUpsample(nn.Module):
    """Each pixel four times, then a 3×3 convolution if there is one: diffusers' `Upsample2D`.

    Of the nine pixels that the convolution sees many are the same. Output pixels in even and odd rows and columns are four 2×2
    convolutions of the small image, whose weights are sums of those of the large one (in float64): 4/9 of the products.
    """

    def __init__(self, upsample: Any):
        super().__init__()
        self.phases = _phases(convolution) if (convolution := _convolution_of(upsample)) is not None else None

    def forward(self, x: Images, output_size: None = None) -> Images:
        if self.phases is None:
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        (rows, _, height, width), found = x.shape, self.phases(x)
        last = found.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        shape = (rows, found.shape[1] // 4, 2 * height, 2 * width)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
        for phase, part in enumerate(found.chunk(4, dim=1)):
            down, right = divmod(phase, 2)
            out[:, :, down::2, right::2] = part[:, :, down : down + height, right : right + width]
        return out


def _phases(convolution: nn.Conv2d) -> nn.Conv2d:
    """Even rows and even columns, even and odd, odd and even, odd and odd: one convolution after another along the channels."""
    weight, bias = convolution.weight.double(), convolution.bias
    parts = [columns for rows in _pairs(weight, 2) for columns in _pairs(rows, 3)]
    found = nn.Conv2d(weight.shape[1], 4 * weight.shape[0], 2, padding=1, bias=bias is not None, device="meta")
    found.weight = parameter_like(torch.cat(parts), convolution.weight)
    if bias is not None:
        found.bias = parameter_like(bias.repeat(4), bias)
    return found


def _pairs(weight: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three taps over doubled pixels as two taps over single ones: for the first and for the second of a pair."""
    first, middle, last = weight.split(1, dim=dim)
    return torch.cat([first, middle + last], dim=dim), torch.cat([first + middle, last], dim=dim)


def _convolution_of(upsample: Any) -> nn.Conv2d | None:
    return upsample.conv if upsample.name == "conv" else upsample.Conv2d_0


class SettledAttention(nn.Module):
    """Self-attention over pixels, of diffusers' `Attention` with a group normalisation and a residual."""

    def __init__(self, attention: Any):
        super().__init__()
        self.norm, self.heads, self.out = attention.group_norm, attention.heads, attention.to_out[0]
        layers = (attention.to_q, attention.to_k, attention.to_v)
        inner, bias = layers[0].out_features, layers[0].bias is not None
        self.qkv = nn.Linear(layers[0].in_features, 3 * inner, bias=bias, device="meta")
        self.qkv.weight = parameter_like(torch.cat([layer.weight for layer in layers]), layers[0].weight)
        if bias:
            self.qkv.bias = parameter_like(torch.cat([layer.bias for layer in layers]), layers[0].weight)
        self.residual, self.divisor = attention.residual_connection, float(attention.rescale_output_factor)

    def forward(self, x: Images, temb: torch.Tensor | None = None) -> Images:
        rows, _, height, width = x.shape
        pixels = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        query, key, value = self.qkv(pixels).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out = self.out(mixed).view(rows, height, width, -1).permute(0, 3, 1, 2)
        out = out + x if self.residual else out
        return out if self.divisor == 1 else out / self.divisor


def settle(network: nn.Module, time: float) -> SettledUNet | None:
    """A copy of a U-Net in eval mode that is asked at `time` only; None for networks of another build."""
    if type(network) is not UNet or not _known(network.unet):
        return None
    with torch.no_grad():
        unet: Any = copy.deepcopy(network.unet).eval()
        embedding = _embedding(unet, time)
        _replace_blocks(unet, embedding)
    if any(getattr(part, "time_emb_proj", None) is not None for part in unet.modules()):
        return None
    unet.time_proj, unet.time_embedding = nn.Identity(), nn.Identity()
    unet.conv_norm_out, unet.conv_act = nn.Sequential(unet.conv_norm_out, unet.conv_act), nn.Identity()
    return SettledUNet(unet)


def _known(unet: Any) -> bool:
    """Whether the time enters through residual blocks alone, and no class has to be given."""
    return unet.config.time_embedding_type == "positional" and unet.class_embedding is None


def _embedding(unet: Any, time: float) -> Float[torch.Tensor, "one embedding"]:
    device = unet.conv_in.weight.device
    waves = unet.time_proj(torch.full((1,), time, dtype=torch.float32, device=device))
    return copy.deepcopy(unet.time_embedding).double()(waves.double())


def _replace_blocks(unet: nn.Module, embedding: torch.Tensor) -> None:
    from diffusers.models.attention_processor import Attention
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    for name, part in list(unet.named_modules()):
        if type(part) is Upsample2D and _doubles(part):
            unet.set_submodule(name, SettledUpsample(part))
    for name, part in list(unet.named_modules()):
        if type(part) is ResnetBlock2D and part.time_embedding_norm in ("default", "scale_shift"):
            unet.set_submodule(name, SettledBlock(part, embedding))
        elif type(part) is Attention and _self_attention(part):
            unet.set_submodule(name, SettledAttention(part))


def _doubles(upsample: nn.Module) -> bool:
    """Whether an upsampling does what `SettledUpsample` does, and nothing else."""
    convolution = _convolution_of(upsample)
    usual = type(convolution) is nn.Conv2d and convolution.kernel_size == (3, 3) and convolution.padding == (1, 1)
    return upsample.norm is None and upsample.interpolate and (convolution is None or usual)


def _self_attention(attention: nn.Module) -> bool:
    """Whether an attention does what `SettledAttention` does, and nothing else."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    absent = ("spatial_norm", "norm_q", "norm_k", "norm_cross", "add_k_proj")
    layers = [attention.to_q, attention.to_k, attention.to_v]
    return (
        type(attention.processor) is AttnProcessor2_0
        and attention.group_norm is not None
        and not any(getattr(attention, name, None) for name in absent)
        and len({(layer.in_features, layer.out_features, layer.bias is None) for layer in layers}) == 1
    )
