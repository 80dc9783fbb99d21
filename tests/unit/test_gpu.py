"""What only a CUDA device can tell: `make test-gpu`. Everything else about it is tested without one (`test_cuda_paths.py`)."""

import gc
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from training_examples import TRAINABLE, digits, weights

from certflow.data.base import DataInfo
from certflow.kinds.registry import spec_class
from certflow.machine.replay import Recorder
from certflow.models import build
from certflow.models.base import Inference
from certflow.models.kinds.cifar_resnet import CifarResNet
from certflow.models.kinds.lenet import LeNet
from certflow.models.kinds.small_conv import SmallConv
from certflow.noise import Gaussian, GeneralizedGaussian, philox
from certflow.noise.base import Key
from certflow.noise.fast import jit
from certflow.noise.streams import Stream
from certflow.noise.truncated import Truncated
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.training import seed_everything, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GRAY, COLOUR = DataInfo(10, (1, 28, 28)), DataInfo(10, (3, 32, 32), (0.49, 0.48, 0.45), (0.2, 0.2, 0.2))
SEED = 0x0123456789ABCDEF
LEVEL = 1e-6


def module(info: DataInfo) -> torch.nn.Module:
    seed_everything(1)
    return build(LeNet() if info is GRAY else CifarResNet(depth=8), info).eval()


def base(info: DataInfo = GRAY, device: str = "cuda", batch: int = 256, network=None, **inference) -> BaseClassifier:
    inference = Inference(**{"precision": "float32", **inference})
    return BaseClassifier(network or module(info), inference, shape=info.shape, device=device, batch=batch)


def counted(classifier: BaseClassifier, draws=(3000, 0, 1, 2500), noise=None, **options) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (len(draws), *classifier.shape), dtype=np.uint8)
    index, noise = np.array([7, 3, 2**32 - 1, 0])[: len(draws)], noise or Gaussian(sigma=0.5)
    options = {"seed": SEED, "stream": Stream.ESTIMATION, "quiet": True} | options
    return count_classes(classifier, images, index, np.array(draws), noise=noise, **options).counts


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["1", "0"])
def test_integers_and_uniforms_are_the_cpus_bit_for_bit(kernel, monkeypatch):
    monkeypatch.setenv("CERTFLOW_NATIVE", kernel)
    jit._made.cache_clear()
    try:
        assert (jit._kernels(torch.device("cuda", 0)) is not None) == (kernel == "1")
        image, draw = torch.tensor([7, 0, 2**32 - 1, 2**31]), torch.tensor([3, 99_999, 2**32 - 1, 0])
        for d in (1, 5, 784, 3072):
            for function in (
                lambda i, j, d=d: philox.words(d, Key(i, j, seed=SEED, stream=2)),
                lambda i, j, d=d: philox.uniforms(d, Key(i, j, seed=SEED, stream=2)),
                lambda i, j: philox.wide_uniforms(Key(i, j, seed=SEED, stream=2)),
            ):
                assert torch.equal(function(image.cuda(), draw.cuda()).cpu(), function(image, draw))
    finally:
        jit._made.cache_clear()


@pytest.mark.parametrize(
    ("law", "tolerance"),
    [(Gaussian(sigma=1.0), 2e-6), (GeneralizedGaussian(k=380, sigma=1.0), 2e-5), (Truncated(k=380, sigma=1.0), 2e-5)],
)
def test_noise_is_the_cpus_up_to_rounding(law, tolerance):
    image, draw = torch.arange(64), torch.arange(64) * 1001
    found = []
    for device in ("cpu", "cuda"):
        more = (
            {"parameter": torch.full((64,), 0.7, dtype=torch.float64, device=device)} if law.kind == "truncated" else {}
        )
        found.append(law.sample((1, 28, 28), Key(image.to(device), draw.to(device), seed=SEED, stream=1, **more)).cpu())
    torch.testing.assert_close(found[1], found[0], rtol=tolerance, atol=tolerance)


def test_compiled_integers_are_the_same():
    image, draw = torch.arange(8, device="cuda"), torch.arange(8, device="cuda")

    def drawn(image, draw):
        key = Key(image, draw, seed=SEED, stream=1)
        return philox.words(784, key), philox.normals(784, key)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        words, normals = torch.compile(drawn, dynamic=False)(image, draw)
    assert torch.equal(words, philox.words(784, Key(image, draw, seed=SEED, stream=1)))
    torch.testing.assert_close(normals, philox.normals(784, Key(image, draw, seed=SEED, stream=1)), rtol=0, atol=4e-6)


# --- the engine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arithmetic", ["float", "exact"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("info", [GRAY, COLOUR], ids=["gray", "colour"])
def test_a_graph_counts_what_single_kernels_count(info, precision, arithmetic, monkeypatch):
    captured = []
    capture = Recorder._capture
    monkeypatch.setattr(Recorder, "_capture", lambda self, work: captured.append(1) or capture(self, work))
    graph = counted(base(info, precision=precision), arithmetic=arithmetic)
    assert captured == [1] and graph.sum(axis=1).tolist() == [3000, 0, 1, 2500]
    monkeypatch.setenv("CERTFLOW_GRAPHS", "0")
    assert np.array_equal(counted(base(info, precision=precision), arithmetic=arithmetic), graph)
    assert captured == [1]


@pytest.mark.parametrize("law", [GeneralizedGaussian(k=380, sigma=0.5), Truncated(k=380, sigma=0.5)])
def test_a_graph_reads_each_images_own_parameter(law, monkeypatch):
    more = {"parameter": np.array([0.9, 0.5, 0.7, 0.99])} if law.kind == "truncated" else {}
    graph = counted(base(), noise=law, **more)
    monkeypatch.setenv("CERTFLOW_GRAPHS", "0")
    assert np.array_equal(counted(base(), noise=law, **more), graph)


def test_exact_noise_gives_nearly_the_cpus_counts_and_floats_the_same_law():
    for arithmetic in ("exact", "float"):
        ours, cpu = (counted(base(device=device), (20_000,), arithmetic=arithmetic)[0] for device in ("cuda", "cpu"))
        assert (
            np.abs(ours - cpu).sum() / 2 <= 0.002 * 20_000
        )  # equal noise: only rows on the edge of two classes differ


def test_bfloat16_has_nearly_the_probabilities_of_float32():
    ours, wide = (counted(base(precision=precision), (20_000,))[0] for precision in ("bfloat16", "float32"))
    top = int(wide.argmax())
    assert abs(int(ours[top]) - int(wide[top])) <= 0.03 * 20_000


def test_compiled_networks_count_nearly_the_same():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        ours = counted(base(compile=True), (20_000,))[0]
    assert np.abs(ours - counted(base(), (20_000,))[0]).sum() / 2 <= 0.002 * 20_000


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_fused_networks_count_nearly_the_same(precision):
    network = build(CifarResNet(depth=20), COLOUR).eval()
    for part in network.modules():  # biases and residual sums that matter
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.bias, -1, 1)
    ours, plain = (base(COLOUR, network=network, precision=precision, fold=fold) for fold in (True, False))
    assert ours.describe()["fused"] and not plain.describe()["fused"] and ours.describe()["dropped"] == "none"
    found, wanted = (counted(one, (20_000,))[0] for one in (ours, plain))
    assert np.abs(found - wanted).sum() / 2 <= (0.002 if precision == "float32" else 0.03) * 20_000


def test_other_streams_are_other_draws_of_the_same_law():
    first, second = (counted(base(), (20_000,), stream=stream)[0] for stream in (1, 2))
    top = int(first.argmax())
    table = [[first[top], 20_000 - first[top]], [second[top], 20_000 - second[top]]]
    assert not np.array_equal(first, second) and stats.fisher_exact(table).pvalue > LEVEL


class Greedy(torch.nn.Module):
    """Takes more memory than there is for more than so many rows."""

    def __init__(self, rows: int):
        super().__init__()
        self.inner, self.rows = module(GRAY), rows

    def forward(self, x):
        if len(x) > self.rows:
            torch.empty(1 << 50, dtype=torch.uint8, device=x.device)
        return self.inner(x)


def test_too_little_memory_means_smaller_batches(capsys):
    classifier = base(batch=256, network=Greedy(100), fold=False)
    assert np.array_equal(counted(classifier), counted(base(batch=64, fold=False)))
    assert classifier.batch == 64 and "out of memory: going on" in capsys.readouterr().err


class Reading(torch.nn.Module):
    """Looks at values on the host, which no graph can hold."""

    def __init__(self):
        super().__init__()
        self.inner = module(GRAY)

    def forward(self, x):
        return self.inner(x) * (1.0 if x.abs().max().item() >= 0 else 2.0)


def test_a_network_that_no_graph_can_hold_is_run_kernel_by_kernel(capsys):
    found = counted(base(network=Reading(), fold=False))
    assert "no CUDA graph of this work" in capsys.readouterr().err
    assert np.array_equal(found, counted(base(fold=False)))  # and the device still works


def test_a_finished_count_leaves_no_memory_behind():
    counted(base())
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for _ in range(3):
        counted(base())
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + (8 << 20)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", TRAINABLE)
def test_methods_learn_and_repeat_themselves(kind, precision):
    data = digits(train=300, test=200)
    fields = {"epochs": 2, "batch": 60, "lr": 0.05, "schedule": "one_cycle", "precision": precision}
    method = spec_class("method", kind).small(**fields)
    table = 0.8 * np.eye(10, dtype=np.float32)[data[0].labels] + 0.02
    found = []
    for _ in range(2):
        seed_everything(11)
        network = build(SmallConv(), DataInfo(classes=10, shape=(1, 8, 8)))
        tables = dict.fromkeys(method.tables, table)
        result = train(
            method, network, *data, noise=Gaussian(sigma=0.25), seed=11, device="cuda", quiet=True, tables=tables
        )
        found.append(weights(network))
        assert np.isfinite(result.rows[-1]["train_loss"])
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["gaussian", "smoothadv", "catrs"])
def test_a_training_by_graphs_is_the_training_by_single_kernels(kind, monkeypatch):
    data = digits(train=600, test=200)
    fields = {"smoothadv": {"steps": 2}, "catrs": {"steps": 2}}.get(kind, {})
    method = spec_class("method", kind)(epochs=2, batch=24, lr=0.05, schedule="one_cycle", **fields)
    table = 0.8 * np.eye(10, dtype=np.float32)[data[0].labels] + 0.02
    captured, found = [], []
    capture = Recorder._capture
    monkeypatch.setattr(Recorder, "_capture", lambda self, work: captured.append(1) or capture(self, work))
    for graphs in ("1", "0"):
        monkeypatch.setenv("CERTFLOW_GRAPHS", graphs)
        seed_everything(11)
        network = build(SmallConv(), DataInfo(classes=10, shape=(1, 8, 8)))
        tables = dict.fromkeys(method.tables, table)
        train(method, network, *data, noise=Gaussian(sigma=0.25), seed=11, device="cuda", quiet=True, tables=tables)
        found.append(weights(network))
    assert len(captured) == 2 and found[0] == found[1]
