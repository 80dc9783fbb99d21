"""Everything that runs on a GPU, without one: no tensor on the wrong device, nothing that waits for the device in a loop."""

import numpy as np
import pytest
import torch
from fake_cuda import fake_cuda
from torch._subclasses.fake_tensor import DataDependentOutputException
from training_examples import TRAINABLE

from certflow.data.base import DataInfo
from certflow.data.batches import batches
from certflow.denoising.composed import DenoiseThenClassify
from certflow.kinds.registry import kinds, spec_class
from certflow.models import build
from certflow.models.base import Inference
from certflow.noise import (
    DependentSplitting,
    Gaussian,
    GeneralizedGaussian,
    IndependentSplitting,
    philox,
    pieces,
    steps,
    tables,
)
from certflow.noise.base import AdditiveNoise, Key
from certflow.noise.truncated import Truncated
from certflow.sampling import copies
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.fast.row_loop import RowLoop
from certflow.sampling.rows import RowRange
from certflow.training import evaluation
from certflow.training.denoisers.ranges import RangeTraining
from certflow.training.denoisers.restoration import Restorer
from certflow.training.fast import frozen
from certflow.training.meter import Meter
from certflow.training.ranks import ALONE, Ranks
from certflow.training.stepper import Stepper

SMALL = DataInfo(classes=10, shape=(1, 8, 8))
GRAY = DataInfo(classes=10, shape=(1, 28, 28))
COLOUR = DataInfo(10, (3, 32, 32), (0.49, 0.48, 0.45), (0.2, 0.2, 0.2), "crop_flip")
LAWS = {
    **{kind: (spec_class("noise", kind).small(), {}) for kind in kinds("noise")},
    "gaussian": (Gaussian(sigma=0.5), {}),
    "exact": (Gaussian(sigma=0.5), {"exact": True}),
    "exact ssn": (IndependentSplitting(sigma=0.5), {"exact": True}),
    "exact dssn": (DependentSplitting(sigma=0.1), {"exact": True}),
    "every dssn": (DependentSplitting(sigma=0.1), {"exact": True, "every": True}),
    "generalised": (GeneralizedGaussian(k=20, sigma=0.5), {}),
    "truncated": (Truncated(k=20, sigma=0.5), {"parameter": True}),
}


@pytest.fixture
def cuda():
    """The device, and tables on it forgotten afterwards: they have no values."""
    steps._made.clear()
    tables.kept.cache_clear()
    pieces.offsets.cache_clear()
    try:
        with fake_cuda() as watch:
            yield watch
    finally:
        steps._made.clear()
        tables.kept.cache_clear()
        pieces.offsets.cache_clear()
        frozen._pairs.clear()


def on_cuda(module: torch.nn.Module) -> torch.nn.Module:
    return module.to("cuda")


def small_conv() -> torch.nn.Module:
    return build(spec_class("model", "small_conv")(), SMALL)


def test_the_stand_in_refuses_what_a_gpu_refuses_or_waits_for(cuda):
    x = torch.zeros(4, 3, device="cuda")
    with pytest.raises(AssertionError, match="cpu.*cuda"):
        x + torch.zeros(3)
    with pytest.raises(AssertionError, match="cpu.*cuda"):
        x[torch.arange(2)]
    with pytest.raises(AssertionError, match="cpu.*cuda"):
        x * torch.tensor(0.5)
    with pytest.raises(DataDependentOutputException):
        float(x.sum())
    with pytest.raises(DataDependentOutputException):
        x[0] if x.sum() > 0 else x[1]
    assert cuda.copies == []
    x.cpu()
    assert torch.arange(3).to("cuda").device.type == "cuda"
    assert cuda.copies == [("cuda", "cpu"), ("cpu", "cuda")]


def way(noise, options):
    """What draws from a law: (shape, key) → rows."""
    if isinstance(noise, AdditiveNoise):
        return noise.steps if options.get("exact") else noise.sample
    dtype, make = (torch.int16, noise.pieces) if options.get("exact") else (torch.float32, noise.copies)
    return lambda shape, key: make(torch.zeros(len(key.image), *shape, dtype=dtype, device="cuda"), key)


@pytest.mark.parametrize("law", LAWS)
def test_noise_stays_on_the_device(law, cuda):
    noise, options = LAWS[law]
    draw = way(noise, options)
    image, number = torch.arange(6, device="cuda"), torch.arange(6, device="cuda")
    more = {"parameter": torch.full((6,), 0.5, dtype=torch.float64, device="cuda")} if "parameter" in options else {}
    for _ in range(2):  # the first call may send tables
        cuda.copies.clear()
        found = draw(SMALL.shape, Key(image, number, seed=3, stream=1, **more))
    assert cuda.copies == [] and found.shape == (6, *SMALL.shape) and found.device.type == "cuda"
    assert found.dtype == (torch.int16 if options.get("exact") else torch.float32)


def test_counters_and_coins_stay_on_the_device(cuda):
    key = Key(torch.arange(6, device="cuda"), torch.arange(6, device="cuda"), seed=3, stream=1)
    assert philox.integers(5, key, high=9).device.type == "cuda"
    assert philox.wide_uniforms(key).dtype == torch.float64
    assert cuda.copies == []


MODELS = {
    "lenet": ({"kind": "lenet"}, GRAY),
    "cifar_resnet": ({"kind": "cifar_resnet", "depth": 8}, COLOUR),
    "small_conv": ({"kind": "small_conv"}, SMALL),
}


def prepared(model: dict, info: DataInfo, precision: str) -> BaseClassifier:
    """As the engine prepares it, folded and checked on the CPU, then moved."""
    module = build(spec_class("model", model["kind"])(**model), info).eval()
    classifier = BaseClassifier(module, Inference(precision=precision), shape=info.shape, batch=16)
    classifier.network = module if classifier.describe()["fused"] else classifier.network  # a CPU's kernels are a CPU's
    return classifier


def moved(classifier: BaseClassifier) -> BaseClassifier:
    classifier.device = torch.device("cuda")
    classifier.network = classifier.network.requires_grad_(False).to(
        classifier.device, classifier.dtype, memory_format=torch.channels_last
    )
    if classifier.shift is not None:
        classifier.shift = classifier.shift.to("cuda")
    return classifier


@pytest.mark.parametrize(
    ("model", "law", "precision"),
    [
        *((model, "gaussian", "bfloat16") for model in MODELS),
        *(("small_conv", law, precision) for law in LAWS for precision in ("float32", "float16")),
        ("cifar_resnet", "exact", "bfloat16"),
    ],
)
def test_a_batch_of_the_engine_stays_on_the_device(model, law, precision, request):
    noise, options = LAWS[law]
    settings, info = MODELS[model]
    classifier = prepared(settings, info, precision)
    cuda = request.getfixturevalue("cuda")
    exact, parameter = "exact" in options, "parameter" in options
    arithmetic, told = "exact" if exact else "float", {"parameter": parameter, "every": "every" in options}
    made = copies.copies_of(moved(classifier), noise, seed=3, stream=1, arithmetic=arithmetic, **told)
    loop = RowLoop(classifier, made, slots=4, parameter=parameter, margin=1e-4 if told["every"] else None)
    index, ends = np.arange(3), np.array([20, 30, 60])
    pixels = torch.zeros(3, *info.shape, dtype=torch.uint8)
    rows = RowRange(0, 60, pixels, index, ends, np.array([0, 20, 30]), np.full(3, 0.5) if parameter else None)
    for _ in range(2):
        loop.load(rows)
        cuda.copies.clear()
        loop.step()
    assert cuda.copies == []
    assert loop.votes.device.type == loop.bad.device.type == "cuda"
    assert {p.dtype for p in classifier.network.parameters()} == {classifier.dtype}


@pytest.mark.parametrize(
    ("law", "calls"), [("gaussian", 1), ("exact", 1), ("truncated", 0), ("exact ssn", 1), ("every dssn", 1)]
)
def test_a_law_makes_its_tables_before_it_is_compiled_or_recorded(law, calls, request, monkeypatch):
    """By a call that belongs to no row; one that waits for a parameter makes none."""
    noise, options = LAWS[law]
    exact, parameter = "exact" in options, "parameter" in options
    classifier = prepared({"kind": "small_conv"}, SMALL, "float32")
    monkeypatch.setattr(BaseClassifier, "compiled", True)
    cuda, made, seen = request.getfixturevalue("cuda"), [], []
    monkeypatch.setattr(copies, "Compiled", lambda function, device: made.append(len(seen)) or function)
    way = "pieces" if law == "exact ssn" else "outcome" if "every" in options else "steps" if exact else "sample"
    right = getattr(type(noise), way)
    monkeypatch.setattr(type(noise), way, lambda self, *given: seen.append(given) or right(self, *given))
    told = {"arithmetic": "exact" if exact else "float", "parameter": parameter, "every": "every" in options}
    found = copies.copies_of(moved(classifier), noise, seed=3, stream=1, **told)
    assert len(seen) == calls and made in ([calls], [])
    held = torch.zeros(6, *SMALL.shape, dtype=found.dtype, device="cuda")
    numbers, cuda.copies[:] = torch.arange(6, device="cuda"), []
    found.rows(held, numbers, numbers, torch.full((6,), 0.5, dtype=torch.float64, device="cuda") if parameter else None)
    assert parameter or cuda.copies == []


VARIANTS = [
    *((kind, {}) for kind in TRAINABLE),
    ("smoothadv", {"attack": "ddn"}),
    ("smoothadv", {"gradient_free": True}),
    ("catrs", {"confidence_mask": True}),
    ("consistency", {"form": "mse"}),
    ("consistency", {"entropy_form": "double_softmax"}),
    ("gaussian", {"nesterov": True, "weight_decay": 0.0}),
]


def steps_of(method, model, info, cuda, noise, ranks=ALONE) -> list[tuple[str, str]]:
    """Copies between host and device in the second loader batch."""
    tables = {name: torch.full((64, 10), 0.1, device="cuda") for name in method.tables}
    stepper = Stepper(method, model, noise=noise, seed=3, batches=4, tables=tables, ranks=ranks, images=64)
    meter = Meter(extras=method.extras)
    for number in range(2):
        cuda.copies.clear()
        x = torch.rand(16, *info.shape, device="cuda")
        y, index = torch.zeros(16, dtype=torch.int64, device="cuda"), torch.arange(16, device="cuda")
        stepper.advance((index, x, y), 1, number, meter)
    return list(cuda.copies)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("kind", "fields"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_a_training_step_stays_on_the_device(kind, fields, precision, cuda):
    method = spec_class("method", kind).small(**{"epochs": 3, "batch": 16, "precision": precision, **fields})
    model = on_cuda(small_conv()).train()
    assert steps_of(method, model, SMALL, cuda, Gaussian(sigma=0.5)) == []
    assert all(parameter.grad.device.type == "cuda" for parameter in model.parameters())


def test_a_training_step_with_a_law_that_warms_up_stays_on_the_device(cuda):
    method = spec_class("method", "gaussian")(epochs=4, batch=16, noise_warmup=2)
    model = on_cuda(small_conv()).train()
    assert steps_of(method, model, SMALL, cuda, GeneralizedGaussian(k=20, sigma=0.5)) == []


def test_attacking_only_masked_images_waits_for_the_device_and_says_so(cuda):
    method = spec_class("method", "catrs")(epochs=3, batch=16, noises=2, steps=1, attack_only_masked=True)
    model = on_cuda(small_conv()).train()
    with pytest.raises(Exception, match="nonzero"):
        steps_of(method, model, SMALL, cuda, Gaussian(sigma=0.5))


class Split:
    """Images in memory."""

    labels = np.arange(70) % 10

    def __init__(self, info: DataInfo):
        self.pixels = np.zeros((70, *info.shape), np.uint8)

    def __len__(self) -> int:
        return 70

    def read(self, indices) -> np.ndarray:
        return self.pixels[indices]


@pytest.mark.parametrize("ranks", [ALONE, Ranks(1, 2)])
@pytest.mark.parametrize("info", [SMALL, COLOUR])
def test_batches_are_made_on_the_device(info, ranks, cuda):
    rows = None if ranks.world == 1 else lambda images: ranks.rows([slice(0, images)])
    made = batches(Split(info), device="cuda", batch=16, seed=3, augmentation=info.augmentation, rows=rows)
    loaded = made.epoch(2)
    next(loaded)
    cuda.copies.clear()
    for index, x, y in loaded:
        assert {index.device.type, x.device.type, y.device.type} == {"cuda"} and x.shape[1:] == info.shape
    assert cuda.copies == []


class Totals(Ranks):
    """Takes the place of the one read at the end of an evaluation."""

    def add(self, totals: torch.Tensor) -> np.ndarray:
        assert totals.device.type == "cuda" and totals.dtype == torch.float64 and totals.shape == (4,)
        return np.array([10.0, 5.0, 8.0, 10.0])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_evaluation_stays_on_the_device_until_its_end(precision, cuda):
    model = on_cuda(small_conv())
    loader = batches(Split(SMALL), device="cuda", batch=16, seed=3, augmentation="none", shuffle=False)
    found = evaluation.evaluate(
        model, loader, Gaussian(sigma=0.5), seed=3, epoch=0, precision=precision, ranks=Totals()
    )
    assert (found.loss, found.accuracy, found.top5) == (1.0, 0.5, 0.8)


@pytest.mark.parametrize("kind", kinds("denoiser"))
def test_denoisers_run_on_the_device(kind, cuda):
    denoiser = on_cuda(spec_class("denoiser", kind).small().build(SMALL, 0.5)).eval()
    cuda.copies.clear()
    y, sigma = torch.zeros(4, *SMALL.shape, device="cuda"), torch.full((4,), 0.3, device="cuda")
    assert denoiser(y).device.type == denoiser.at(y, sigma).device.type == "cuda"
    assert denoiser.to(torch.bfloat16)(y.bfloat16()).dtype == torch.bfloat16
    assert cuda.copies == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", kinds("denoiser"))
def test_a_denoiser_is_trained_on_the_device(kind, precision, request):
    restorer = Restorer(spec_class("denoiser", kind).small().build(SMALL, 0.5))
    cuda = request.getfixturevalue("cuda")
    restorer = on_cuda(restorer).train()
    method = RangeTraining(epochs=3, batch=16, average=0.9, precision=precision)
    assert steps_of(method, restorer, SMALL, cuda, Gaussian(sigma=0.5)) == []


@pytest.mark.parametrize("update", ["adam", "sgd", "adam_then_sgd"])
@pytest.mark.parametrize("objective", ["mse", "l1", "stability", "classification"])
def test_denoised_smoothing_is_trained_on_the_device(objective, update, cuda):
    from certflow.denoising.trainee import Trainee

    denoiser = spec_class("denoiser", "dncnn").small().build(SMALL, 0.5)
    composed = DenoiseThenClassify(denoiser, small_conv(), clamp=True)
    method = spec_class("method", "denoised")(
        denoiser="d", classifier={"method": "m", "noise": "n"}, objective=objective, update=update, batch=16
    )
    assert steps_of(method, on_cuda(Trainee(composed)).train(), SMALL, cuda, Gaussian(sigma=0.5)) == []
