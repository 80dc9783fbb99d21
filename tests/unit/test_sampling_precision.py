"""Precision is stated and the same on every machine; the machine only decides what the log says about it."""

import re
from dataclasses import replace

import pytest
import torch

from certflow.machine.cpu import cpu_flags
from certflow.models.base import Inference
from certflow.sampling import precision, stage
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.precision import bfloat16_is_native, remark
from certflow.sampling.settings import exact_arithmetic

SHAPE = (1, 4, 4)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))


X86, ARM, OLD = {"avx512f", "avx512_bf16"}, {"asimd", "bf16"}, {"avx2", "avx512f"}


@pytest.fixture
def cpu(monkeypatch):
    """`cpu(flags)`: a CPU that has these."""
    return lambda flags: monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags))


@pytest.mark.parametrize(
    ("flags", "native"), [(X86, True), ({"amx_bf16"}, True), (ARM, True), (OLD, False), (set(), False)]
)
def test_bfloat16_is_native_where_the_cpu_has_units_for_it(flags, native, cpu):
    cpu(flags)
    assert bfloat16_is_native("cpu") is native


@pytest.mark.parametrize("flags", [X86, OLD])
@pytest.mark.parametrize("stated", [None, "float32", "bfloat16", "float16"])
def test_the_stated_precision_is_the_one_that_is_certified_whatever_the_cpu(stated, flags, cpu):
    cpu(flags)
    inference = Inference() if stated is None else Inference(precision=stated)
    base = BaseClassifier(network(), inference, shape=SHAPE)
    assert base.describe()["precision"] == (stated or "float32")
    assert next(base.network.parameters()).dtype == getattr(torch, stated or "float32")


def test_auto_is_not_a_precision():
    with pytest.raises(ValueError, match="'float32', 'bfloat16' or 'float16'"):
        Inference(precision="auto")


def test_the_log_says_what_bfloat16_would_gain_where_it_is_native_only(cpu):
    x = torch.linspace(0, 1, 8 * 16).reshape(8, *SHAPE)
    cpu(X86)
    assert re.search(r"in bfloat16 a batch would take \d+% of its time here", remark("float32", network(), x))
    assert remark("bfloat16", network(), x) is None
    cpu(OLD)
    assert remark("float32", network(), x) is None
    assert "emulated" in remark("bfloat16", network(), x)


def test_a_job_says_it_of_a_whole_batch_and_of_a_compiled_network_nothing(monkeypatch, capsys):
    asked, base = [], BaseClassifier(network(), shape=SHAPE, batch=16)
    monkeypatch.setattr(stage, "remark", lambda precision, network, x: asked.append((precision, x.shape)) or "slow")
    stage._say_what_precision_costs(base)
    assert capsys.readouterr().err == "precision float32: slow\n" and asked == [("float32", (16, *SHAPE))]
    monkeypatch.setattr(BaseClassifier, "compiled", True)
    stage._say_what_precision_costs(base)
    assert capsys.readouterr().err == ""


def test_of_native_convolutions_in_float32_a_job_does_not_say_that_they_do_not_run_in_bfloat16(cpu, capsys):
    for stated, flags, said in (("float32", X86, ""), ("bfloat16", OLD, "emulated")):
        base = BaseClassifier(network(), Inference(precision=stated), shape=SHAPE, batch=16)
        base.form = replace(base.form, done=(*base.form.done, "native"))
        cpu(flags)
        stage._say_what_precision_costs(base)
        heard = capsys.readouterr().err
        assert said in heard and bool(heard) == bool(said)


def test_a_batch_takes_the_fastest_of_three_passes_after_one_to_warm_up(monkeypatch):
    clock = iter([0, 1, 10, 15, 20, 23, 30, 34])  # seconds at the beginnings and ends of passes that take 1, 5, 3 and 4
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(clock))
    assert precision._seconds(network(), torch.zeros(8, *SHAPE)) == 3 and next(clock, None) is None


def test_a_model_that_does_not_run_in_bfloat16_is_said_to_be_one(cpu):
    class Widened(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1).float())

    class Choosy(torch.nn.Flatten):
        def forward(self, x):
            assert x.dtype == torch.float32
            return super().forward(x)

    cpu(X86)
    for model, why in ((Widened(16, 3), "RuntimeError: "), (Choosy(), "AssertionError: ")):
        said = remark("float32", model, torch.zeros(8, *SHAPE))
        assert f"the model as it is does not ({why}" in said


def test_flags_are_read_from_the_systems_file(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\n")
    assert cpu_flags(str(file)) == {"fpu", "avx2", "amx_bf16"}
    arm = tmp_path / "arm"
    arm.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert cpu_flags(str(arm)) == {"fp", "asimd", "bf16"}
    assert cpu_flags(str(tmp_path / "nothing")) == frozenset()


@pytest.fixture
def said_back():
    """What is said of whole backends is no business of the tests after this one."""
    backends = (torch.backends, torch.backends.cudnn, torch.backends.mkldnn)
    before = [backend.fp32_precision for backend in backends]
    yield
    for backend, said in zip(backends, before, strict=True):
        backend.fp32_precision = said
    exact_arithmetic()


@pytest.mark.parametrize(
    "said_before",
    [
        lambda: None,
        lambda: setattr(torch.backends, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends.cudnn, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "tf32"),
        lambda: setattr(torch.backends.mkldnn, "fp32_precision", "bf16"),
        lambda: torch.set_float32_matmul_precision("medium"),
    ],
)
def test_float32_means_float32_whatever_was_said_before_and_both_ways_of_asking_agree(said_before, said_back):
    said_before()
    exact_arithmetic()
    backends = torch.backends
    operations = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.conv)
    assert {operation.fp32_precision for operation in (*operations, backends.mkldnn.matmul)} == {"ieee"}
    assert (
        backends.cuda.matmul.allow_tf32 is False and backends.cudnn.allow_tf32 is False
    )  # torch raises if they differ
    assert torch.get_float32_matmul_precision() == "highest"
    assert backends.cudnn.deterministic and not backends.cudnn.benchmark


@pytest.mark.parametrize(("capability", "native"), [((9, 0), True), ((8, 0), True), ((7, 5), False)])
def test_gpus_before_ampere_have_no_bfloat16_units(capability, native, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert bfloat16_is_native("cuda:1") is native
