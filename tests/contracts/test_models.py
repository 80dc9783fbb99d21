"""What every architecture promises: a network for the images it was made for, the same function however it is evaluated."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from catalogue import file_of, small

from certflow.data.base import DataInfo
from certflow.kinds.registry import kinds, spec_class
from certflow.models import build, fold


def _tried(kind):
    """A kind, to be skipped where a package is missing that it is built with."""
    missing = [name for name in spec_class("model", kind).requires if find_spec(name) is None]
    return pytest.param(kind, marks=pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"))


KINDS = [_tried(kind) for kind in kinds("model")]
CLASSES = 7


def info_of(spec) -> DataInfo:
    """Data that the kind was made for, smaller where it takes that, with a normalisation that folding has to get right."""
    if spec.item_problems("pixels"):
        return DataInfo(CLASSES, spec.natural, vocabulary=spec.words)
    channels, height, width = spec.natural
    normalised = DataInfo(CLASSES, spec.natural, mean=(0.4,) * channels, sd=(0.3,) * channels)
    smaller = replace(normalised, shape=(channels, min(height, 64), min(width, 64)))
    return normalised if spec.problems(smaller) else smaller


def items_of(info: DataInfo) -> torch.Tensor:
    """Three items as a network takes them; texts of one, of half as many and of all tokens."""
    if info.vocabulary is None:
        return torch.rand(3, *info.shape)
    (length,) = info.shape
    words = torch.randint(1, info.vocabulary, (3, length))
    return words * (torch.arange(length) < torch.tensor([[1], [length // 2], [length]]))


@pytest.fixture(scope="module")
def made():
    """Each kind's network, made once: (spec, data, network in eval mode, images or texts)."""
    found = {}

    def of(kind):
        if kind not in found:
            torch.manual_seed(4)
            spec = small("model", kind)
            info = info_of(spec)
            found[kind] = spec, info, build(spec, info).eval(), items_of(info)
        return found[kind]

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_the_images_it_was_made_for(kind, made):
    spec, info, network, x = made(kind)
    assert spec.problems(replace(info, shape=spec.natural)) == [], (
        f"{file_of('model', kind)}: `natural` is refused by `problems`"
    )
    with torch.inference_mode():
        logits = network(x)
    assert logits.shape == (3, CLASSES) and logits.dtype == torch.float32 and bool(logits.isfinite().all())
    assert logits.std(dim=0).max() > 0, "the logits must depend on the image"


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_classified_by_itself(kind, made):
    """In eval mode a row does not depend on the others: counts are sums over rows of any batch."""
    _, _, network, x = made(kind)
    with torch.inference_mode():
        whole, alone = network(x), torch.cat([network(row[None]) for row in x])
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_folded_it_is_the_same_function(kind, made):
    _, info, network, x = made(kind)
    with torch.inference_mode():
        wanted, found = network(x), fold(network)(x)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_gives_one_network_and_a_skeleton_takes_its_weights(kind, made):
    spec, info, network, _ = made(kind)
    weights = network.state_dict()
    torch.manual_seed(4)
    again = build(spec, info).state_dict()
    assert weights.keys() == again.keys() and all(torch.equal(weights[name], again[name]) for name in weights)
    assert all(key.startswith(("0.mean", "0.sd", "1.")) for key in weights)
    skeleton = spec.skeleton(info)
    skeleton.load_state_dict({key[2:]: value for key, value in weights.items() if key.startswith("1.")})


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind, made):
    spec, info, _, x = made(kind)
    torch.manual_seed(4)
    network = build(spec, info).train()
    torch.nn.functional.cross_entropy(network(x), torch.arange(3)).backward()
    without = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 5, 5), (1, 8, 8), (3, 32, 32), (3, 64, 64)])
def test_images_of_other_shapes_are_taken_or_refused_with_a_reason(kind, shape):
    spec, info = small("model", kind), DataInfo(CLASSES, shape)
    problems = spec.refusals(info)
    assert all(isinstance(reason, str) and reason for reason in problems)
    if problems:
        with pytest.raises(ValueError, match="images|pixels"):
            build(spec, info)


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_whether_it_takes_texts(kind):
    spec = small("model", kind)
    assert ("tokens" in spec.accepts) == (spec.words is not None)
    if spec.words is None:
        with pytest.raises(ValueError, match="these data are tokens"):
            build(spec, DataInfo(CLASSES, (16,), vocabulary=100))
