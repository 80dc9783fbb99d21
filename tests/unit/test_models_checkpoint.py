"""Our model files: exact bits in and out, and refusal of everything that is not what was asked for."""

import subprocess
import sys

import pytest
import torch
from models_examples import CIFAR, DIGITS, images, randomise, spec
from safetensors.torch import save_file

from certflow.data.base import DataInfo
from certflow.errors import ArtefactError
from certflow.files.provenance import Provenance
from certflow.files.tensorfile import tensors_digest
from certflow.models import Normalise, build, load_model, save_model
from certflow.models.header import identity, is_ours, read_header

SPEC = {"model": {"kind": "small_conv"}, "seed": 3}
RECORD = Provenance(format="model", spec=SPEC, parents={"data": "a" * 64}, notes={"epochs": 2})


@pytest.fixture
def stored(tmp_path):
    network = randomise(build(spec("small_conv"), DIGITS))
    path = tmp_path / "model.safetensors"
    save_model(path, network, RECORD)
    return path, network


def bits(module):
    return {
        key: (t.dtype, t.shape, bytes(t.contiguous().reshape(-1).view(torch.uint8).numpy()))
        for key, t in module.state_dict().items()
    }


def test_weights_come_back_bit_for_bit(stored):
    path, network = stored
    loaded, record = load_model(path, spec("small_conv"), DIGITS, spec=SPEC, parents={"data": "a" * 64})
    assert bits(loaded) == bits(network)
    assert record == RECORD
    assert not loaded.training
    x = images(8, DIGITS.shape)
    assert torch.equal(loaded(x), network(x))


def test_dtypes_and_odd_values_are_kept(tmp_path):
    network = build(spec("small_conv"), DIGITS).to(torch.bfloat16)
    with torch.no_grad():
        network[1].fc2.bias[:3] = torch.tensor([-0.0, 1e-39, 3e38])
    path = tmp_path / "model.safetensors"
    save_model(path, network, RECORD)
    loaded, _ = load_model(path, spec("small_conv"), DIGITS)
    assert bits(loaded) == bits(network)
    assert loaded[1].fc2.bias.dtype == torch.bfloat16 and loaded[1].fc2.bias.requires_grad


def test_memory_layout_does_not_change_the_file(stored, tmp_path):
    path, network = stored
    other = tmp_path / "other.safetensors"
    save_model(other, network.to(memory_format=torch.channels_last), RECORD)
    assert other.read_bytes() == path.read_bytes()


def test_loading_leaves_the_random_generator_alone(stored):
    torch.manual_seed(8)
    wanted = torch.rand(3)
    torch.manual_seed(8)
    load_model(stored[0], spec("small_conv"), DIGITS)
    assert torch.equal(torch.rand(3), wanted)


def test_the_file_decides_how_its_network_normalises(tmp_path):
    """An imported model may normalise otherwise than the dataset does."""
    cifar = spec("cifar_resnet", depth=8)
    for layer in (Normalise(), Normalise((0.1, 0.2, 0.3)), Normalise((0.5,) * 3, (0.5,) * 3)):
        network = build(cifar, CIFAR)
        network[0] = layer
        save_model(tmp_path / "model.safetensors", network, RECORD)
        loaded, _ = load_model(tmp_path / "model.safetensors", cifar, CIFAR)
        assert bits(loaded) == bits(network)


def test_a_header_is_read_without_torch(stored):
    path, network = stored
    assert read_header(path) == (RECORD, identity(RECORD, tensors_digest(network.state_dict())))
    code = "import sys; from certflow.models.header import read_header; read_header(sys.argv[1]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    "expected", [{"spec": {**SPEC, "seed": 4}}, {"parents": {"data": "b" * 64}}, {"format": "counts"}]
)
def test_a_file_made_from_something_else_is_refused(stored, expected):
    with pytest.raises(ArtefactError, match=str(stored[0])):
        load_model(stored[0], spec("small_conv"), DIGITS, **expected)


def test_truncated_files_are_refused(stored):
    path, _ = stored
    whole = path.read_bytes()
    for size in (0, 1, 7, 8, 9, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ArtefactError, match="is damaged|one of our model files"):
            load_model(path, spec("small_conv"), DIGITS)
        with pytest.raises(ArtefactError, match="is damaged"):
            read_header(path)
        assert not is_ours(path)


def test_one_flipped_bit_in_the_weights_is_noticed(stored):
    path, _ = stored
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="differ from what was written"):
        load_model(path, spec("small_conv"), DIGITS)


def test_an_altered_record_is_noticed(stored):
    path, _ = stored
    before = path.read_bytes()
    path.write_bytes(before.replace(b'seed\\":3', b'seed\\":4'))
    assert path.read_bytes() != before
    with pytest.raises(ArtefactError, match="altered"):
        load_model(path, spec("small_conv"), DIGITS)


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ArtefactError, match="is missing"):
        load_model(tmp_path / "nothing", spec("small_conv"), DIGITS)
    with pytest.raises(ArtefactError, match="is missing"):
        read_header(tmp_path / "nothing")
    path = tmp_path / "plain.safetensors"
    save_file({"fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ArtefactError, match="kind external"):
        load_model(path, spec("small_conv"), DIGITS)


def test_a_network_of_another_shape_is_refused_with_keys_and_shapes(stored):
    path, _ = stored
    with pytest.raises(ArtefactError) as error:
        load_model(path, spec("small_conv"), DataInfo(7, (1, 8, 8)))
    assert "1.fc2.weight is [10, 64], needed [7, 64]" in str(error.value)
    assert "the file's model has 10 classes" in str(error.value)
    with pytest.raises(
        ArtefactError, match=r"1.fc1.weight is \[64, 512\], needed \[64, 2048\].*images of another shape"
    ):
        load_model(path, spec("small_conv"), DataInfo(10, (1, 16, 16)))
    with pytest.raises(ArtefactError, match=r"lacks 1.conv1.bias.* has in addition 1.bn1.bias.*another architecture"):
        load_model(path, spec("lenet"), DataInfo(10, (1, 28, 28)))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    network = build(spec("small_conv"), DIGITS)
    network[1].fc1.weight.data[3, 4] = float("nan")
    save_model(tmp_path / "model.safetensors", network, RECORD)
    with pytest.raises(ArtefactError, match="1.fc1.weight holds values that are NaN"):
        load_model(tmp_path / "model.safetensors", spec("small_conv"), DIGITS)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(stored, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((ArtefactError, OSError)):
        save_model(tmp_path / "file" / "model.safetensors", stored[1], RECORD)
    assert not list(tmp_path.glob("*.part"))
