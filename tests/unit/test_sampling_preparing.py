"""Whatever is given as a model is certified as it is, or refused in a sentence: no step of preparing it is trusted."""

import collections
import contextlib
import functools
import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from certflow.errors import NonFiniteError
from certflow.models.base import Inference
from certflow.noise import Gaussian
from certflow.noise.streams import Stream
from certflow.sampling import engine, probing
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.sampling.fast import steps
from certflow.sampling.form import Form
from certflow.sampling.probing import (
    check_repeats,
    check_rows,
    company_images,
    first_line,
    generators_kept,
    probe_images,
    rows_for,
)
from certflow.sampling.resume import Journal

SHAPE = (3, 8, 8)
GENERATOR = torch.Generator()
FLOAT, BRAIN = Inference(), Inference(precision="bfloat16")


class Net(nn.Module):
    """A convolution and a linear layer with `before` and `after` around them."""

    def __init__(self, before=None, after=None):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.before, self.after = before or (lambda x: x), after or (lambda z: z)

    def forward(self, x):
        return self.after(self.head(torch.relu(self.conv(self.before(x))).mean((2, 3))))


def prepared(model, inference=FLOAT, **options) -> BaseClassifier:
    return BaseClassifier(model, inference, shape=SHAPE, batch=16, **options)


def noisy(rows: int = 16) -> torch.Tensor:
    return torch.rand(rows, *SHAPE, generator=torch.Generator().manual_seed(3)) * 2 - 0.5


@torch.inference_mode()
def logits(base: BaseClassifier, x: torch.Tensor) -> torch.Tensor:
    return base.logits(x.clone() if base.shift is None else x - base.shift)


def same_function(model, wanted, inference=FLOAT) -> BaseClassifier:
    base, x = prepared(model, inference), noisy()
    with torch.no_grad():
        torch.testing.assert_close(logits(base, x), wanted(x), rtol=1e-4, atol=1e-5)
    return base


# Layout


class Viewing(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(36, 5)

    def forward(self, x):
        return self.head(F.max_pool2d(self.conv(x), 2).view(-1, 36))


class ReadingMemory(nn.Module):
    """Reads an activation's memory as it lies, which other layouts order otherwise without any error."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(144, 5)

    def forward(self, x):
        hidden = self.conv(x)
        return self.head(hidden.as_strided((len(x), 144), (144, 1)))


@pytest.mark.parametrize("model", [Viewing, ReadingMemory])
def test_a_model_that_needs_contiguous_images_gets_them(model):
    described = same_function(model(), model().eval()).describe()
    assert described["layout"] == "contiguous" and "channels_last" in described["dropped"]
    assert prepared(Net()).describe()["layout"] == "channels last"


# Complex and other numbers


class Spectral(nn.Module):
    def __init__(self, dtype=torch.complex64):
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.head = nn.Parameter(1j * torch.ones(3, 8, 5, dtype=dtype)), nn.Linear(192, 5)

    def forward(self, x):
        return self.head(torch.fft.irfft2(torch.fft.rfft2(x) * self.weight).flatten(1))


@pytest.mark.parametrize("inference", [FLOAT, Inference(fold=False)])
def test_complex_weights_keep_their_imaginary_part(inference):
    same_function(Spectral(), Spectral().eval(), inference)
    same_function(Spectral(torch.complex128), Spectral().eval(), inference)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_complex_weights_are_refused_by_name_in_fewer_bits(precision):
    with pytest.raises(ValueError, match=f"complex parameters or buffers .weight., for which there is no {precision}"):
        prepared(Spectral(), Inference(precision=precision))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_in_other_types_are_certified_in_the_stated_one(dtype):
    model = Net().to(dtype)
    same_function(model, Net().to(dtype).float().eval())


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        (lambda x: torch.from_numpy(x.numpy().copy()), "TypeError"),
        (lambda x: x.float(), "RuntimeError"),
        (lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), "NotImplementedError|RuntimeError"),
    ],
)
def test_models_that_cannot_run_in_bfloat16_are_told_what_to_do(before, cause, capfd):
    with pytest.raises(
        ValueError, match=f"runs in float32, but not in bfloat16 .({cause}): .*; set precision: float32"
    ):
        prepared(Net(before), BRAIN)
    assert capfd.readouterr().err == ""
    assert prepared(Net(before)).describe()["precision"] == "float32"


def test_an_overflow_in_fewer_bits_is_refused():
    with pytest.raises(ValueError, match="logits in float16 have little to do with those in float32"):
        prepared(Net(before=lambda x: x * 1e5, after=lambda z: z * 1e-5), Inference(precision="float16"))


def test_logits_that_are_no_numbers_are_refused_at_once():
    model = Net()
    with torch.no_grad():
        model.head.weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="NaN or infinite on all of"):
        prepared(model)


@pytest.mark.parametrize(
    "device, settings, wanted",
    [
        ("cpu", {}, "settle fold channels_last fuse"),
        ("cpu", {"precision": "bfloat16"}, "settle fold channels_last fuse"),
        ("cpu", {"precision": "float16"}, "settle fold channels_last"),
        ("cpu", {"fold": False}, "channels_last"),
        ("cpu", {"compile": True}, "settle fold channels_last"),
        ("meta", {}, "settle fold fuse"),
        ("meta", {"precision": "bfloat16"}, "settle fold channels_last fuse"),
        ("meta", {"precision": "float16"}, "settle fold channels_last fuse"),
        ("meta", {"precision": "bfloat16", "compile": True}, "settle fold channels_last"),
        ("cpu", {"precision": "float16"}, "settle fold channels_last"),
    ],
)
def test_which_steps_are_tried_follows_from_the_settings_and_the_kind_of_device(device, settings, wanted):
    tried = steps.steps(Inference(**settings), torch.empty(0, device=device))
    assert list(tried) == wanted.split()


@pytest.mark.parametrize("device, precision", [("cpu", "float32"), ("cpu", "bfloat16"), ("meta", "float32")])
def test_native_convolutions_are_tried_on_a_cpu_where_they_are_asked_for(device, precision):
    x = torch.empty(0, device=device)
    assert list(steps.late_steps(Inference(precision=precision, native=True), x)) == ["native"] * (device == "cpu")
    assert steps.late_steps(Inference(precision=precision), x) == {}


@pytest.mark.parametrize(
    ("step", "name"), [("_folded", "fold"), ("_fused", "fuse"), ("_channels_last", "channels_last")]
)
@pytest.mark.parametrize("how", ["wrong", "failing"])
def test_a_step_that_fails_or_changes_the_function_is_left_out(step, name, how, monkeypatch):
    right = getattr(steps, step)

    def broken(form, *rest):
        if how == "failing":
            raise KeyError(name)
        found = right(form, *rest)
        weights = next(parameter for parameter in found.network.parameters())
        weights.data = weights.data * 1.01
        return found

    monkeypatch.setattr(steps, step, broken)
    make = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))  # noqa: E731
    torch.manual_seed(0)
    model = make().eval()
    base = same_function(model, model)
    assert name in base.describe()["dropped"] and name not in base.form.done


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-4), (torch.bfloat16, 0.5), (torch.float16, 0.5)])
def test_a_form_may_differ_by_the_rounding_of_its_precision(dtype, allowed):
    """Relative to how far logits differ between images, here by 1 from their mean."""
    x = torch.tensor([1.0, -1.0])[:, None, None, None].expand(2, 1, 1, 2)
    wanted = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    for share, agrees in ((0.9, True), (1.1, False)):
        moved = wanted + share * allowed * torch.tensor([1.0, -1.0])
        assert Form(lambda x, moved=moved: moved, dtype=dtype).agrees(wanted, x) == agrees


def test_steps_that_cannot_run_in_the_precision_are_left_out_and_named(monkeypatch):
    right = steps._fused

    def in_float32_alone(form, x):
        network = right(form, x).network
        network.register_forward_pre_hook(lambda module, given: given[0].view(torch.float32) and None)
        return replace(form, network=network)

    monkeypatch.setattr(steps, "_fused", in_float32_alone)
    described = prepared(Net(), BRAIN).describe()
    assert described["fused"] is False and described["dropped"] == "fuse" and described["layout"] == "channels last"


@pytest.mark.parametrize("there", ["c++", "g++", "clang++"])
def test_any_compiler_will_do_for_a_cpu_and_none_is_needed_for_a_gpu(there, monkeypatch):
    made = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: made.append(options) or function)
    monkeypatch.setattr(steps, "keep_compilers_private", lambda: made.append("private folder"))
    for found, device in ((there, "cpu"), (None, "cuda")):
        monkeypatch.setattr(steps.shutil, "which", lambda name, found=found: name if name == found else None)
        assert isinstance(steps.compiled(Form(nn.Identity()), torch.device(device)).network, steps.Compiled)
    assert made == ["private folder", {"dynamic": False}] * 2, "for the one shape of a batch"


def test_what_was_done_to_a_model_is_described():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    done = {"settled": False, "folded": True, "fused": torch.backends.mkldnn.is_available(), "native": False}
    rest = {"precision": "float32", "compiled": False, "layout": "channels last", "dropped": "none"}
    assert same_function(model, model).describe() == {**done, **rest}


# One fixed function of a row


class Mixing(nn.Module):
    """Subtracts a share of the batch's mean."""

    def __init__(self, share):
        super().__init__()
        self.net, self.share = Net(), share

    def forward(self, x):
        return self.net(x - self.share * x.mean(0, keepdim=True))


class Offset(nn.Module):
    """Logits with a large number in common, in which a dependence could hide."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return 100 + self.net(x + 0.5 * x.mean())


class Placed(nn.Module):
    """Treats images by their place in the batch."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x * (1 + 0.001 * torch.arange(len(x), dtype=x.dtype))[:, None, None, None].to(x.device))


class Largest(nn.Module):
    """Looks at the largest value in the batch, which half of the batch does not decide."""

    def __init__(self, sign: int):
        super().__init__()
        self.net, self.sign = Net(), sign

    def forward(self, x):
        return self.net(x) + 1e-3 * (self.sign * x).amax() * torch.arange(5, dtype=x.dtype)


MIXING = [Mixing(0.02), Mixing(0.005), Mixing(1e-5), Offset(), Placed(), Largest(1), Largest(-1)]


@pytest.mark.parametrize("model", MIXING)
def test_models_whose_rows_know_of_each_other_are_refused(model):
    with pytest.raises(ValueError, match="change with the other images of its batch"):
        prepared(model)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_and_the_smallest_value_of_a_batch_are_found_to_matter_in_images_of_any_size(sign):
    """Of whatever size: half of the batch must not hold it by chance."""

    def model(x):
        return x.flatten(1)[:, :5] + 1e-3 * sign * (sign * x).amax() * torch.arange(5, dtype=x.dtype)

    for side in range(3, 15):
        with pytest.raises(ValueError, match="change with the other images of its batch"):
            BaseClassifier(model, FLOAT, shape=(1, side, side), batch=16)


def test_probe_images_are_smooth_ones_in_range_under_noise_of_every_level():
    images = probe_images(40, (3, 64, 64)).double()
    rough = images.diff(n=2, dim=3).flatten(1).std(dim=1) / 6**0.5  # of noise alone its standard deviation
    wanted = torch.tensor([0, 0.1, 0.25, 0.5, 1], dtype=torch.float64).repeat(8)
    torch.testing.assert_close(rough, wanted, rtol=0.05, atol=0.02)
    clean = images[wanted == 0]
    assert float(clean.min()) >= 0 and float(clean.max()) <= 1 and float(clean.std()) > 0.1
    other = company_images(40, (3, 64, 64)).double()
    assert float(other.std()) == pytest.approx(2 * float(images.std()), rel=0.05), (
        "twice the range, around the same middle"
    )
    assert float(other.mean()) == pytest.approx(float(images.mean()), abs=0.05)
    assert abs(float(torch.corrcoef(torch.stack([images.flatten(), other.flatten()]))[0, 1])) < 0.1, "of other images"


class Learning(nn.Module):
    """Goes on learning a mean at inference; with a rate of 0 it only writes down what was there."""

    def __init__(self, rate: float, rebind: bool = False):
        super().__init__()
        self.net, self.rate, self.rebind = Net(), rate, rebind
        self.register_buffer("mean", torch.full((), 0.1))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += 1
        if self.rebind:
            self.mean = self.mean + self.rate * (x.mean() - self.mean)
        else:
            self.mean += self.rate * (x.mean() - self.mean)
        return self.net(x - self.mean)


@pytest.mark.parametrize("rebind", [False, True])
def test_a_model_that_goes_on_learning_is_refused_and_one_that_counts_is_not(rebind):
    with pytest.raises(ValueError, match=r"changes with every call \(mean\)"):
        prepared(Learning(1e-6, rebind))
    prepared(Learning(0.0, rebind))


class Dropping(nn.Module):
    """Dropout that is never off, on the features."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p, training=True)


@pytest.mark.parametrize("p", [0.0005, 1e-6, 0.3])
def test_dropout_that_is_never_off_is_found_and_named(p):
    model = Net()
    model.head = nn.Sequential(Dropping(p), model.head)
    with pytest.raises(ValueError, match=r"the model is random \(.*dropout.* in .*head\.0"):
        prepared(model)


@pytest.mark.parametrize(
    ("after", "named"),
    [
        (lambda z: z + np.random.rand() * 1e-9, r" \(it draws from numpy's generator\)"),
        (lambda z: z + random.random() * 1e-9, r" \(it draws from Python's random module\)"),
        (lambda z: z + 1e-3 * torch.rand(z.shape, generator=GENERATOR), ""),
        (lambda z: F.dropout(z, training=True), r" \([a-z_]*dropout in Net\)|bernoulli_ in Net\)"),
        (
            lambda z: F.dropout(z, training=True) + random.random(),
            r" \([a-z_]* in Net, it draws from Python's random module\)",
        ),
    ],
)
def test_other_sources_of_randomness_are_found_and_no_others_are_named(after, named):
    with pytest.raises(ValueError, match=f"the model is random{named}: called twice"):
        prepared(Net(after=after))


class Changing(nn.Module):
    """Writes down something new at every call, and forgets what it wrote before where it `forgets`."""

    def __init__(self, forgets: bool):
        super().__init__()
        self.forgets, self.calls = forgets, 0

    def forward(self, x):
        if self.forgets and self.calls:
            del self._buffers[f"call{self.calls}"]
        self.calls += 1
        self.register_buffer(f"call{self.calls}", torch.zeros(()))
        return x.flatten(1)


def test_numbers_that_come_and_go_are_changes_and_those_that_come_and_stay_are_none():
    x, stays, goes = probe_images(8, SHAPE), Changing(False), Changing(True)
    assert torch.equal(check_repeats(stays, x, stays), x.flatten(1))
    with pytest.raises(ValueError, match=r"changes with every call \(call"):
        check_repeats(goes, x, goes)


def test_complex_numbers_that_a_model_learns_are_seen():
    class Turning(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("phase", torch.ones((), dtype=torch.complex64))

        def forward(self, x):
            self.phase *= 1j
            return x.flatten(1)

    with pytest.raises(ValueError, match=r"changes with every call \(phase\)"):
        check_repeats(model := Turning(), probe_images(8, SHAPE), model)


class Elsewhere(torch.Tensor):
    """Images on a device where other company may mean other rounding."""

    device = torch.device("cuda")


@pytest.mark.parametrize(("share", "kinds"), [(0.0, (torch.Tensor, Elsewhere)), (1e-6, (Elsewhere,)), (1e-3, ())])
def test_company_may_change_the_last_bits_on_other_devices_alone(share, kinds):
    def network(x):
        return x.flatten(1)[:, :5] + share * x[-1].mean() * torch.arange(5)

    for kind in (torch.Tensor, Elsewhere):
        x, other = (probe_images(16, SHAPE, seed=seed).as_subclass(kind) for seed in (0, 1))
        with contextlib.nullcontext() if kind in kinds else pytest.raises(ValueError, match="change with the other"):
            check_rows(network, x, other, torch.float32)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_rounding_in_other_company_is_small(dtype, allowed):
    """Relative to how far a logit lies from the mean of its class over the images: here up to 1.998, of the first one."""
    logits = torch.tensor([[1.0, -1.0]] + 999 * [[-1.0, 1.0]], dtype=torch.float64)
    for part, near in ((0.99, True), (1.01, False)):
        moved = logits + part * allowed * 1.998 * torch.tensor([1.0, -1.0])
        assert probing.near(logits, moved, dtype) == near


def test_how_many_probe_images_there_are_follows_from_their_size_and_the_batch():
    for shape, batch, rows in [
        ((1, 4, 4), 64, 64),
        ((1, 4, 4), 63, 56),
        ((1, 4, 4), 1, 8),
        ((1, 64, 64), 256, 8),
        ((1, 32, 32), 256, 32),
        ((3, 224, 224), 256, 8),
    ]:
        assert rows_for(shape, batch) == rows


def test_an_error_is_told_in_a_line_of_two_hundred_characters():
    assert first_line(ValueError("\n  one  \ntwo")) == "ValueError: one" and first_line(KeyError()) == "KeyError: "
    assert first_line(ValueError("x" * 300)) == "ValueError: " + "x" * 200
    script = "The following operation failed in the TorchScript interpreter.\nTraceback\nRuntimeError: sizes"
    assert first_line(RuntimeError(script)) == "RuntimeError: RuntimeError: sizes"


def test_generators_of_a_gpu_are_kept_too(monkeypatch):
    forked = []

    @contextlib.contextmanager
    def fork_rng(devices):
        forked.append(devices)
        yield

    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    for device in ("cpu", "cuda:1"):
        with generators_kept(torch.device(device)):
            pass
    assert forked == [[], [torch.device("cuda:1")]]


@pytest.mark.parametrize("lost", [{0}, {1}, {0, 1}])
def test_a_logit_that_is_a_number_in_one_of_two_calls_is_no_fixed_function(lost):
    """It is one where the logit is no number in both."""
    calls = itertools.count()

    def network(x):
        logits = torch.zeros(len(x), 3)
        logits[5, 1] = torch.nan if next(calls) in lost else 0.0
        return logits

    x, part = probe_images(8, SHAPE), nn.Module()
    if len(lost) == 2:
        assert int(check_repeats(network, x, part).isnan().sum()) == 1
        return
    with pytest.raises(ValueError, match="the model is random"):
        check_repeats(network, x, part)


def test_a_model_that_seeds_itself_is_fixed_and_the_callers_generators_stay_as_they_are():
    def shifted(x):
        torch.manual_seed(5)
        return x + 0.1 * torch.randn(1, *SHAPE)

    model = Net(before=shifted)
    torch.manual_seed(11)
    np.random.seed(11)
    random.seed(11)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    prepared(model)
    assert torch.equal(states[0], torch.get_rng_state()) and states[2] == random.getstate()
    assert np.array_equal(states[1], np.random.get_state()[1])


def test_a_model_that_works_in_place_is_the_same_function():
    def inside(x):
        x -= 0.5
        return x.mul_(2.0).clamp_(-3, 3)

    images = torch.rand(2, *SHAPE)
    kept = images.clone()
    options = dict(noise=Gaussian(sigma=0.5), seed=0, stream=Stream.ESTIMATION, quiet=True)
    index, draws = np.arange(2), np.array([50, 70])
    found, wanted = (
        count_classes(prepared(nn.Sequential(nn.Identity(), Net(before))), images, index, draws, **options).counts
        for before in (inside, lambda x: ((x - 0.5) * 2.0).clamp(-3, 3))
    )
    assert np.array_equal(found, wanted) and torch.equal(images, kept)


# What is returned

Output = collections.namedtuple("ImageClassifierOutput", "loss logits")


class Answer:
    """An output with attributes."""

    def __init__(self, z):
        self.logits, self.hidden = z, z[:, :3]


@pytest.mark.parametrize(
    "after",
    [
        lambda z: Output(None, z),
        lambda z: {"logits": z, "features": z[:, :2]},
        lambda z: {"out": z},
        lambda z: [z],
        lambda z: (z, torch.zeros(())),
        lambda z: (z.sum(), z),
        lambda z: (z[:, :1], z),
        lambda z: (z[:3], z),
        lambda z: (z[:, :, None], z),
        Answer,
        lambda z: z.numpy(),
    ],
)
def test_logits_are_found_in_what_is_returned(after):
    same_function(Net(after=after), Net().eval())


def test_two_classes_are_enough_to_be_logits():
    same_function(Net(after=lambda z: (z.sum(), z[:, :2])), lambda x: Net().eval()(x)[:, :2])


def test_the_number_of_classes_tells_logits_from_features():
    model = Net(after=lambda z: (torch.cat([z, z], 1), z))
    assert prepared(model, classes=5).classes == 5
    with pytest.raises(ValueError, match=r"returns a tuple \(0: \[.*10\], 1: \[.*5\]\).*model\(x\)\[0\]"):
        prepared(model)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (lambda z: {"a": z, "b": z}, r"returns a dict .*lambda x: model\(x\)\['a'\]"),
        (lambda z: "class 1", "returns a str .no tensor at all."),
        (lambda z: None, r"returns a NoneType .*lambda x: model\(x\)\.logits`"),
        (lambda z: {}, r"returns a dict .*lambda x: model\(x\)\['logits'\]`"),
        (lambda z: z[:, :0], "returns no logits"),
        (lambda z: z[:, :1], "returns one number per image .* torch.nn.functional.pad"),
        (lambda z: z[:, 0], "returns one number per image"),
        (lambda z: z[:, :, None], "must return logits .rows, classes., got shape"),
        (lambda z: z[:3], "must return logits"),
        (lambda z: z + 1j, "complex numbers"),
        (lambda z: z.argmax(1), r"one whole number per image \(shape .*one_hot\(model\(x\)"),
        (lambda z: z.argmax(1, keepdim=True).int(), "one whole number per image"),
        (lambda z: z[:, 0] > 0, "one whole number per image"),
    ],
)
def test_outputs_that_cannot_be_used_are_refused(after, message):
    with pytest.raises(ValueError, match=message):
        prepared(Net(after=after))


def test_the_suggested_function_for_one_logit_gives_two_classes():
    model = Net(after=lambda z: z[:, :1]).eval()
    base = prepared(lambda x: torch.nn.functional.pad(model(x).reshape(-1, 1), (1, 0)))
    x = noisy()
    with torch.no_grad():
        assert torch.equal(logits(base, x).argmax(1), (model(x)[:, 0] > 0).long())


def test_the_suggested_function_for_numbers_of_classes_gives_these_classes():
    model, number_of_classes = Net().eval(), 5
    numbers = lambda x: model(x).argmax(1)  # noqa: E731
    base = prepared(lambda x: torch.nn.functional.one_hot(numbers(x).long().flatten(), number_of_classes))
    assert torch.equal(logits(base, noisy()).argmax(1), numbers(noisy()))


class Turning:
    """A function of images that is another one from its call number `turn` on."""

    def __init__(self, turn: float):
        self.turn, self.calls, self.net = turn, 0, Net().eval()

    def __call__(self, x):
        self.calls += 1
        return self.net(x) if self.calls < self.turn else -self.net(x)


def counted(base: BaseClassifier, draws: int, journal: Journal | None = None, **more) -> np.ndarray:
    images, index = np.zeros((1, *SHAPE), np.uint8), np.array([0])
    options = {"noise": Gaussian(sigma=0.5), "seed": 0, "stream": Stream.ESTIMATION, "quiet": True}
    return count_classes(base, images, index, np.array([draws]), journal=journal, **options, **more).counts


def test_votes_of_a_model_that_changes_on_the_way_are_not_kept(tmp_path):
    steady = Turning(float("inf"))
    base = prepared(steady)
    before = steady.calls
    wanted = counted(base, 160)
    assert steady.calls == before + 11, "ten batches, and one more look"
    journal = Journal(tmp_path / "counts", "job", 0.0)
    with pytest.raises(ValueError, match="has changed while it was called: .* nothing is certified"):
        counted(prepared(Turning(before + 5)), 160, journal)
    assert not list(tmp_path.iterdir())
    late = prepared(Turning(before + 12))
    assert np.array_equal(counted(late, 160), wanted), "all of it was counted and looked at before it changed"
    with pytest.raises(ValueError, match="has changed while it was called"):
        counted(late, 160)


def test_a_killed_job_leaves_no_votes_that_nobody_looked_at(tmp_path, monkeypatch):
    """The next process has the model as it was at first, and would put its votes to those of what it had become."""
    monkeypatch.setattr(engine, "CHUNK_ROWS", 16)
    steady = Turning(float("inf"))
    prepared(steady)

    def killed(_, row, rows):
        if row >= 96:
            raise KeyboardInterrupt

    with pytest.raises(ValueError, match="has changed while it was called"):
        counted(prepared(Turning(steady.calls + 5)), 160, Journal(tmp_path / "counts", "job", 0.0), watch=killed)
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        counted(prepared(Turning(float("inf"))), 160, Journal(tmp_path / "counts", "job", 0.0), watch=killed)
    assert list(tmp_path.iterdir()), "votes of a model that stays as it is are kept"


def test_a_look_back_leaves_the_callers_generators_as_they_are():
    def seeds_itself(x):
        torch.manual_seed(3)
        return model(x) + 0 * torch.rand(1)

    model = Net().eval()
    base = prepared(seeds_itself)
    torch.manual_seed(7)
    state = torch.get_rng_state()
    base.require_unchanged()
    assert torch.equal(torch.get_rng_state(), state)


# What is given


@pytest.mark.filterwarnings("ignore")  # torch calls old what people still have
@pytest.mark.parametrize(
    "norm", [nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm]
)
def test_models_with_recomputed_weights(norm):
    torch.manual_seed(0)
    model = nn.Sequential(norm(nn.Conv2d(3, 4, 3)), nn.ReLU(), nn.Flatten(), norm(nn.Linear(144, 5)))
    model(noisy())  # leaves a weight with a history behind
    same_function(model, model.eval())
    prepared(model, Inference(precision="float16"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("made", ["script", "trace", "freeze", "export", "program"])
def test_compiled_forms_of_models(made):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    if made in ("export", "program"):
        batch = torch.export.Dim("batch")
        program = torch.export.export(model, (noisy(),), dynamic_shapes=({0: batch},))
        given = program if made == "program" else program.module()
    else:
        given = torch.jit.trace(model, noisy()) if made == "trace" else torch.jit.script(model)
        given = torch.jit.freeze(given) if made == "freeze" else given
    same_function(given, model)


@pytest.mark.filterwarnings("ignore")
def test_quantised_models():
    make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5))  # noqa: E731
    with pytest.raises(ValueError, match="dynamic quantisation"):
        prepared(torch.ao.quantization.quantize_dynamic(make(), {nn.Linear}))


def test_functions_are_models():
    model = Net().eval()
    same_function(lambda x: model(x), model)
    same_function(model.forward, model)
    same_function(functools.partial(lambda net, x: net(x), model), model)
    training = Net()
    for given, name in [
        (lambda x: training(x), "training"),
        (training.forward, "the object it belongs to"),
        (functools.partial(lambda net, x: net(x), training), "argument 0"),
        (functools.partial(lambda x, net: net(x), net=training), "net"),
        (functools.partial(lambda y, x: training(x), 0), "training"),
    ]:
        with pytest.raises(ValueError, match=f"the function uses {name}, which is in training mode; call {name}.eval"):
            prepared(given)


class Levelled(nn.Module):
    """Takes a noise level, as denoisers do; whether that is fixed is in its attribute."""

    def __init__(self, frozen: bool):
        super().__init__()
        self.net, self.condition_is_frozen = Net(), frozen

    def forward(self, x):
        return self.net(x)


def test_parts_that_follow_a_noise_level_are_refused_by_name():
    prepared(Levelled(True))
    for model, name in ((Levelled(False), "the model itself"), (nn.Sequential(nn.Identity(), Levelled(False)), "1")):
        with pytest.raises(ValueError, match=f"take a noise level that is not fixed, .*: {name}; build the denoiser"):
            prepared(model)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "state dict: load it into a network"),
        ("model.pt", "got str"),
        (None, "got NoneType"),
        (Net, "the model is the class Net; give an instance of it"),
    ],
)
def test_what_is_no_model_is_refused(given, message):
    with pytest.raises(TypeError, match=message):
        prepared(given)


def test_a_model_without_values_is_refused_by_the_names_of_its_tensors():
    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    with pytest.raises(
        ValueError, match=r"holds no values yet \(1.weight, 1.bias on the device meta\); load its weights"
    ):
        prepared(model)


def test_a_model_without_sizes_is_refused_by_the_names_of_its_tensors():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(5))
    with pytest.raises(ValueError, match=r"size is not known yet \(1.weight, 1.bias\); call it once on images"):
        prepared(model)
    model(noisy())
    same_function(model, model.eval())


def test_a_model_that_cannot_be_copied_is_told_how():
    model = Net()
    model.lock = __import__("threading").Lock()
    with pytest.raises(ValueError, match="cannot be copied .TypeError: .*; wrap it in a function"):
        prepared(model)
    model.eval()
    same_function(lambda x: model(x), model)
    for told, line in ((("of one kind\nor another",), "of one kind"), ((), "")):
        model.__deepcopy__ = lambda memo, told=told: (_ for _ in ()).throw(RuntimeError(*told))
        with pytest.raises(ValueError, match=rf"cannot be copied \(RuntimeError: {line}\);"):
            prepared(model)


def test_a_model_for_other_images_is_refused_in_a_sentence():
    with pytest.raises(
        ValueError, match=r"cannot be called on float32 images of shape \[.*, 1, 8, 8\] \(RuntimeError: "
    ):
        BaseClassifier(Net(), shape=(1, 8, 8))
