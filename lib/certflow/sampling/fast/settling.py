"""The step that asks parts of a network for a form of theirs that is made for sampling.

A part's class may have a method `settled()`: a module that is, up to rounding, the same function as the part in eval mode, and
shares nothing with it that can change; or None where there is no such form.
"""

import copy
from types import FunctionType

from torch import nn


def settle(network: nn.Module) -> nn.Module | None:
    """A copy of `network` with every part that settles replaced; None where none does.

    Whoever uses the copy compares it with the network: what a part says of itself is not trusted.
    """
    forms = {id(part): form for part in network.modules() if (form := _settled(part)) is not None}
    return copy.deepcopy(network, forms) if forms else None  # what is in the memo is taken for a copy already made


def _settled(part: nn.Module) -> nn.Module | None:
    """Asked of the class: modules that were loaded from TorchScript answer for any attribute with an error."""
    method = getattr(type(part), "settled", None)
    return method(part) if isinstance(method, FunctionType) else None
