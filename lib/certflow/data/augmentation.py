"""Batched augmentation on the device: pixels to [0,1] floats, zero-padded random crops, mirroring, and the draws they need.

Every draw is a function of (seed, epoch, image index) alone, never of the batch an image is in.
"""

import torch
from jaxtyping import Bool, Float, Int64, Integer, UInt8

from certflow.noise.base import Key
from certflow.noise.philox import words
from certflow.noise.streams import Stream

PAD = 4
"""Black pixels put around an image before a crop of its own size is cut out, as everywhere in the field for CIFAR."""


def to_unit(pixels: Integer[torch.Tensor, "..."]) -> Float[torch.Tensor, "..."]:
    """float32 pixels, in [0,1] where they were bytes: x / 255, correctly rounded, the same bits on every device.

    The divisor is a tensor on the device on purpose: by a Python number CUDA multiplies with 1/255, which is not the same.
    """
    return pixels.to(torch.float32).div_(torch.full((), 255.0, device=pixels.device))


def permutation(total: int, *, seed: int, epoch: int) -> Int64[torch.Tensor, " total"]:
    """A uniformly random order of `total` images, on the CPU: sorted by 63-bit random keys, ties (probability below
    total² / 2**64) by index."""
    w = words(4, Key.of(torch.arange(total), epoch, seed=seed, stream=Stream.TRAIN_ORDER))[..., 0]
    return torch.argsort((w[:, 0] << 31) | (w[:, 1] >> 1), stable=True)


def epoch_order(total: int, seed: int, epoch: int, shuffle: bool) -> Int64[torch.Tensor, " total"]:
    """In which order the images of an epoch come, on the CPU."""
    if not 0 <= epoch < 2**32:
        raise ValueError(f"epoch must be in [0, 2**32), got {epoch}")
    return permutation(total, seed=seed, epoch=epoch) if shuffle else torch.arange(total)


def crop_flip_draws(
    image: Int64[torch.Tensor, " images"], *, seed: int, epoch: int
) -> tuple[Int64[torch.Tensor, " images"], Int64[torch.Tensor, " images"], Bool[torch.Tensor, " images"]]:
    """(row, column, flip) for each image: offsets uniform on 0 … 2·PAD (to within 2**-29), flip with probability ½."""
    w = words(4, Key.of(image, epoch, seed=seed, stream=Stream.TRAIN_AUGMENTATION))[..., 0]
    span = 2 * PAD + 1
    return w[:, 0] * span >> 32, w[:, 1] * span >> 32, w[:, 2] >= 2**31


def resized_crop_words(
    image: Int64[torch.Tensor, " images"], *, count: int, seed: int, epoch: int
) -> Int64[torch.Tensor, " images count"]:
    """`count` random 32-bit words for each image (see `certflow.data.pixels.crop_box`)."""
    drawn = words(count, Key.of(image, epoch, seed=seed, stream=Stream.TRAIN_AUGMENTATION))
    return drawn.flatten(1)[:, :count]


def pad(images: UInt8[torch.Tensor, "images channels height width"]) -> UInt8[torch.Tensor, "images channels h w"]:
    """The images with PAD zeros on each side."""
    return torch.nn.functional.pad(images, (PAD, PAD, PAD, PAD))


def crop_flip(
    padded: UInt8[torch.Tensor, "images channels h w"],
    row: Int64[torch.Tensor, " images"],
    column: Int64[torch.Tensor, " images"],
    flip: Bool[torch.Tensor, " images"],
) -> UInt8[torch.Tensor, "images channels height width"]:
    """From each padded image the part that starts at (row, column), mirrored where `flip`; height = h - 2·PAD, width alike."""
    images, channels, h, w = padded.shape
    height, width = h - 2 * PAD, w - 2 * PAD
    rows = row[:, None] + torch.arange(height, device=padded.device)
    across = torch.arange(width, device=padded.device)
    columns = column[:, None] + torch.where(flip[:, None], width - 1 - across, across)
    # One index per output pixel, shared by the channels: a single gather does crop and mirror together.
    flat = (rows[:, :, None] * w + columns[:, None, :]).view(images, 1, height * width)
    return (
        padded.view(images, channels, h * w)
        .gather(2, flat.expand(-1, channels, -1))
        .view(images, channels, height, width)
    )
