"""Which images an architecture takes, in words."""

Shape = tuple[int, ...]
"""(channels, height, width) of one image."""


def describe(shape: Shape) -> str:
    """`3x32x32`"""
    return "x".join(str(size) for size in shape)


def refusal(kind: str, takes: str, shape: Shape) -> str:
    """One line: what `kind` takes, what the data are, and a kind that fits them."""
    return f"{kind} takes {takes} images, the data are {describe(shape)}; use {fitting(shape)}"


def fitting(shape: Shape) -> str:
    """A kind of model made for images of that shape."""
    channels, height, width = shape
    if shape == (1, 28, 28):
        return "lenet"
    if (height, width) == (32, 32):
        return "cifar_resnet"
    if min(height, width) >= 4 and max(height, width) <= 16:
        return "small_conv"
    if channels == 3 and min(height, width) >= 64:
        return "resnet50"
    return "timm"
