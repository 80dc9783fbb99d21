"""Checkpoints made elsewhere: every way in which the field writes them, and everything that must be refused."""

import collections
import os

import numpy as np
import pytest
import torch
from models_examples import CIFAR, DIGITS, MNIST, images, randomise, spec
from safetensors.torch import save_file

from certflow.data.base import DataInfo
from certflow.errors import ArtefactError
from certflow.files.provenance import Provenance
from certflow.models import build, load_checkpoint, published, save_model
from certflow.models.assemble import outline
from certflow.models.published import load_weights

PREFIXES = ["1.", "1.module.", "module.", "module.1.", "module.1.module.", "model.", ""]
STORED = [
    ("0.mean", "0.sd"),
    ("0.means", "0.sds"),
    ("module.0.means", "module.0.sds"),
    ("normalize.mean", "normalize.std"),
    ("0.mu", "0.sigma"),
]


@pytest.fixture(scope="module")
def resnet():
    """A ResNet-8 normalised as CIFAR-10, and its backbone's weights under their own names."""
    torch.manual_seed(0)
    network = randomise(build(spec("cifar_resnet", depth=8), CIFAR))
    return network, network[1].state_dict()


def prefixed(weights, prefix):
    return collections.OrderedDict((prefix + key, value) for key, value in weights.items())


def same(one, other, shape=CIFAR.shape):
    x = images(16, shape)
    with torch.inference_mode():
        return torch.equal(one(x), other(x))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("archive", [True, False])
def test_every_prefix_container_and_format_is_read(resnet, tmp_path, prefix, wrapped, archive):
    network, weights = resnet
    state = prefixed(weights, prefix)
    content = (
        {"epoch": 90, "arch": "cifar_resnet8", "state_dict": state, "optimizer": {"state": {0: {}}}}
        if wrapped
        else state
    )
    torch.save(content, tmp_path / "checkpoint.pth.tar", _use_new_zipfile_serialization=archive)
    loaded = load_checkpoint(tmp_path / "checkpoint.pth.tar", "cifar_resnet8")
    assert same(loaded, network)
    assert not loaded.training
    assert list(loaded.state_dict()) == list(network.state_dict())


def test_the_network_is_one_for_images_of_the_stated_shape(tmp_path):
    torch.manual_seed(0)
    grey = randomise(
        build(spec("cifar_resnet", depth=8), DataInfo(classes=10, shape=(1, 32, 32), mean=(0.5,), sd=(0.2,)))
    )
    torch.save(grey[1].state_dict(), tmp_path / "w.pth")
    options = {"shape": [1, 32, 32], "mean": (0.5,), "sd": (0.2,)}
    assert same(load_checkpoint(tmp_path / "w.pth", "cifar_resnet8", **options), grey, (1, 32, 32))
    with pytest.raises(ValueError, match="has 3 means, the images have 1 channels; give mean and sd"):
        load_checkpoint(tmp_path / "w.pth", "cifar_resnet8", shape=(1, 32, 32))


@pytest.mark.parametrize("names", STORED)
@pytest.mark.parametrize("flat", [True, False])
def test_a_stored_normalisation_is_taken(resnet, tmp_path, names, flat):
    network, weights = resnet
    half = torch.full((3,) if flat else (1, 3, 1, 1), 0.5)
    prefix = "module.1." if names[0].startswith("module") else "1."
    torch.save({**prefixed(weights, prefix), names[0]: half, names[1]: half}, tmp_path / "w.pth")
    loaded = load_checkpoint(tmp_path / "w.pth", "cifar_resnet8")
    assert loaded[0].mean.flatten().tolist() == loaded[0].sd.flatten().tolist() == [0.5] * 3
    given = load_checkpoint(tmp_path / "w.pth", "cifar_resnet8", mean=CIFAR.mean, sd=CIFAR.sd)
    assert same(given, network)


def test_a_stored_or_given_mean_alone_centres(resnet, tmp_path):
    torch.save({**prefixed(resnet[1], "1."), "0.means": torch.tensor([0.1, 0.2, 0.3])}, tmp_path / "w.pth")
    assert load_checkpoint(tmp_path / "w.pth", "cifar_resnet8")[0].sd.flatten().tolist() == [1, 1, 1]
    given = load_checkpoint(tmp_path / "w.pth", "cifar_resnet8", mean=(0.5, 0.5, 0.5))[0]
    assert (given.mean.flatten().tolist(), given.sd.flatten().tolist()) == ([0.5] * 3, [1] * 3)


def test_plain_safetensors_are_read(resnet, tmp_path):
    save_file(prefixed(resnet[1], "1."), tmp_path / "w.safetensors")
    assert same(load_checkpoint(tmp_path / "w.safetensors", "cifar_resnet8"), resnet[0])


def test_our_own_files_are_read_as_they_normalise(resnet, tmp_path):
    record = Provenance(format="model", spec={})
    save_model(tmp_path / "a", resnet[0], record)
    assert same(load_checkpoint(tmp_path / "a", "cifar_resnet8"), resnet[0])
    assert same(load_checkpoint(tmp_path / "a", spec("cifar_resnet", depth=8)), resnet[0])
    plain = build(spec("cifar_resnet", depth=8, normalise="none"), CIFAR).eval()
    save_model(tmp_path / "b", plain, record)
    assert same(load_checkpoint(tmp_path / "b", "cifar_resnet8"), plain)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numpy_numbers_beside_the_weights_do_no_harm(resnet, tmp_path, module):
    content = {
        "state_dict": prefixed(resnet[1], "1."),
        "best_acc": np.float64(0.5),
        "epoch": np.int64(3),
        "losses": np.arange(4.0),
    }
    # Old files name numpy's functions by their old place; both names are as long as the pickle says, so it is rewritten whole.
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "w.pth").read_bytes()
    for found in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        raw = raw.replace(b"c" + found + b"\n", b"c" + module.encode() + b"\n")
    (tmp_path / "w.pth").write_bytes(raw)
    assert raw.count(module.encode()) >= 2
    assert same(load_checkpoint(tmp_path / "w.pth", "cifar_resnet8"), resnet[0])


def test_counters_missing_in_old_files_are_no_obstacle(resnet, tmp_path):
    old = {key: value for key, value in prefixed(resnet[1], "1.").items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "w.pth")
    assert same(load_checkpoint(tmp_path / "w.pth", "cifar_resnet8"), resnet[0])


def test_half_precision_weights_become_float32(resnet, tmp_path):
    torch.save(
        {key: value.half() if value.is_floating_point() else value for key, value in resnet[1].items()},
        tmp_path / "w.pth",
    )
    loaded = load_checkpoint(tmp_path / "w.pth", "cifar_resnet8")
    assert loaded[1].fc.weight.dtype == torch.float32
    assert torch.equal(loaded[1].fc.weight, resnet[1]["fc.weight"].half().float())


CIFAR100 = DataInfo(100, (3, 32, 32), mean=(0.5071, 0.4867, 0.4408), sd=(0.2675, 0.2565, 0.2761))
IMAGENET = DataInfo(5, (3, 64, 64), mean=(0.485, 0.456, 0.406), sd=(0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("name", "model", "info"),
    [
        ("lenet", spec("lenet"), MNIST),
        ("mnist_43", spec("mnist_43"), DataInfo(10, (1, 28, 28), mean=(0.5,), sd=(0.5,))),
        ("cifar_resnet20", spec("cifar_resnet", depth=20), CIFAR),
        ("cifar100_resnet14", spec("cifar_resnet", depth=14), CIFAR100),
        ("wide_resnet10_1", spec("wide_resnet", depth=10, width=1), CIFAR),
        ("timm:resnet10t", spec("timm", name="resnet10t"), IMAGENET),
    ],
)
def test_names_bring_architecture_classes_and_the_papers_normalisation(tmp_path, name, model, info):
    network = build(model, info).eval()
    torch.save({"state_dict": prefixed(network[1].state_dict(), "1.module.")}, tmp_path / "w.pth.tar")
    loaded = load_checkpoint(tmp_path / "w.pth.tar", name)
    assert same(loaded, network, info.shape)
    assert list(loaded.state_dict()) == list(network.state_dict())


def test_resnet50_is_known_by_name():
    assert published.named("resnet50") == spec("resnet50")
    assert published._usual("resnet50", torch.nn.Identity()) == (IMAGENET.mean, IMAGENET.sd)


def test_a_mean_for_pixels_to_255_is_pointed_out(tmp_path):
    """Without labelled images the doctor, who would find it, is not asked."""
    torch.save(build(spec("small_conv"), DIGITS).state_dict(), tmp_path / "w.pth")
    with pytest.warns(UserWarning, match=r"mean \[127\] is not one of pixels in \[0,1\]; .* divide mean and sd by 255"):
        load_checkpoint(tmp_path / "w.pth", spec("small_conv"), mean=(127,), sd=(64,))


def test_a_spec_without_stored_normalisation_needs_one(tmp_path):
    model = spec("small_conv")
    network = build(model, DIGITS).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="stores no normalisation; give mean and sd"):
        load_checkpoint(tmp_path / "w.pth", model)
    assert same(load_checkpoint(tmp_path / "w.pth", spec("small_conv", normalise="none")), network, DIGITS.shape)
    assert load_checkpoint(tmp_path / "w.pth", model, mean=(0.5,), sd=(0.25,))[0].sd.item() == 0.25


def test_wrong_names_and_numbers_are_refused(resnet, tmp_path):
    torch.save(resnet[1], tmp_path / "w.pth")
    for name in ("timm:resnet_18", "cifar_resnet21"):
        with pytest.raises(ValueError, match=f"^{name}: .*$") as caught:
            published.named(name)
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ValueError, match="no architecture named 'resnet110'; known: lenet"):
        load_checkpoint(tmp_path / "w.pth", "resnet110")
    with pytest.raises(ValueError, match=r"6n\+2"):
        load_checkpoint(tmp_path / "w.pth", "cifar_resnet9")
    with pytest.raises(ValueError, match="sd alone"):
        load_checkpoint(tmp_path / "w.pth", "cifar_resnet8", sd=(1, 1, 1))
    with pytest.raises(ValueError, match="2 means, the images have 3 channels"):
        load_checkpoint(tmp_path / "w.pth", "cifar_resnet8", mean=(0, 0))


def test_weights_of_another_model_are_refused_with_the_likely_cause(resnet, tmp_path):
    path = tmp_path / "w.pth"
    torch.save(prefixed(resnet[1], "1."), path)
    with pytest.raises(
        ArtefactError, match=r"w.pth: .*lacks layer1.1.conv1.weight, .* and \d+ more.*another architecture or depth"
    ):
        load_checkpoint(path, "cifar_resnet20")
    with pytest.raises(
        ArtefactError, match=r"fc.weight is \[10, 64\], needed \[100, 64\].*the file's model has 10 classes"
    ):
        load_checkpoint(path, "cifar_resnet8", classes=100)
    with pytest.raises(ArtefactError, match=r"lacks conv1.bias.*has in addition bn1.weight"):
        load_checkpoint(path, "lenet")
    torch.save({**prefixed(resnet[1], "1."), "denoiser.conv.weight": torch.zeros(2)}, path)
    with pytest.raises(ArtefactError, match="has in addition denoiser.conv.weight"):
        load_checkpoint(path, "cifar_resnet8")
    torch.save({**resnet[1], "fc.bias": torch.full((10,), float("inf"))}, path)
    with pytest.raises(ArtefactError, match="fc.bias holds values that are NaN or infinite"):
        load_checkpoint(path, "cifar_resnet8")


class Trap:
    """Unpickling this creates a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("archive", [True, False])
def test_files_that_need_unpickling_are_refused_and_nothing_runs(resnet, tmp_path, archive):
    trap = Trap(str(tmp_path / "sprung"))
    for content in (resnet[0], trap, {"model": resnet[0], "more": trap}):
        torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=archive)
        with pytest.raises(ArtefactError, match=r"(Network|mkdir).*torch.save\(model.state_dict"):
            load_checkpoint(tmp_path / "w.pth", "cifar_resnet8")
    torch.save({"state_dict": resnet[1], "more": trap}, tmp_path / "w.pth", _use_new_zipfile_serialization=archive)
    assert same(load_checkpoint(tmp_path / "w.pth", "cifar_resnet8"), resnet[0])
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("archive", [True, False])
def test_truncated_files_are_refused(resnet, tmp_path, archive):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": resnet[1]}, path, _use_new_zipfile_serialization=archive)
    whole = path.read_bytes()
    for size in (0, 1, 8, 100, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ArtefactError, match="w.pth: "):
            load_checkpoint(path, "cifar_resnet8")


def test_files_without_weights_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    with pytest.raises(ArtefactError, match="no such file"):
        load_checkpoint(path)
    torch.save({"epoch": 3, "optimizer": {}}, path)
    with pytest.raises(ArtefactError, match="holds no weights; its entries are epoch, optimizer"):
        load_checkpoint(path)
    torch.save([torch.zeros(3)], path)
    with pytest.raises(ArtefactError, match="holds a list"):
        load_checkpoint(path)
    path.write_text("hello, this is no weight file at all")
    with pytest.raises(ArtefactError, match="is a text that begins with 'hello, this is"):
        load_checkpoint(path)


def test_loading_leaves_the_random_generator_alone(resnet, tmp_path):
    torch.save(resnet[1], tmp_path / "w.pth")
    before = torch.random.get_rng_state()
    load_checkpoint(tmp_path / "w.pth", "cifar_resnet8")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_source_of_the_normalisation_is_told(resnet, tmp_path):
    torch.save(resnet[1], tmp_path / "w.pth")
    model = spec("cifar_resnet", depth=8)
    assert load_weights(tmp_path / "w.pth", model, CIFAR).normalisation == "data"
    assert load_weights(tmp_path / "w.pth", model, CIFAR, mean=(0, 0, 0)).normalisation == "given"
    torch.save(resnet[0].state_dict(), tmp_path / "w.pth")
    assert load_weights(tmp_path / "w.pth", model, CIFAR).normalisation == "file"


@pytest.mark.parametrize("damaged", [True, False])
@pytest.mark.parametrize("model", ["cifar_resnet20", "wide_resnet28_900", spec("small_conv", normalise="none")])
def test_a_network_takes_memory_only_where_the_file_fits_it(resnet, tmp_path, monkeypatch, damaged, model):
    """A short name may stand for gigabytes. What does not fit is refused by names and shapes alone."""
    if damaged:
        (tmp_path / "w.pth").write_bytes(b"\x80\x02}N.")
    else:
        torch.save(resnet[1], tmp_path / "w.pth")
    monkeypatch.setattr(published, "skeleton", lambda *given: pytest.fail("built"))
    with pytest.raises(ArtefactError, match="is damaged" if damaged else "do not fit the network"):
        load_checkpoint(tmp_path / "w.pth", model)


@pytest.mark.parametrize("name", ["cifar_resnet20000", "wide_resnet28_99999999999", "wide_resnet99999999994_10"])
def test_depths_and_widths_have_ends(name):
    with pytest.raises(ValueError, match="should be less than or equal to"):
        published.named(name)


def test_a_network_without_an_outline_is_built_at_once():
    """As those of some versions of timm, which read numbers off tensors while they are built."""

    class Looking(type(spec("small_conv"))):
        def backbone(self, info):
            torch.linspace(0, 1, 3)[1].item()
            return super().backbone(info)

    looking = Looking(normalise="none")
    assert next(outline(spec("small_conv"), DIGITS).parameters()).is_meta
    assert not next(outline(looking, DIGITS).parameters()).is_meta
