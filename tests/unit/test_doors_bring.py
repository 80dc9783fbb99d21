"""Models from files and from code: the same function as they were written, and what is known about them."""

import json
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from doors_examples import CODE, trained
from PIL import Image
from stage_examples import DIGITS, MODEL, NOISE

from certflow.certify.memory import certify, ready
from certflow.data.base import DataInfo
from certflow.data.source import data_root
from certflow.doors.bring import behind, from_checkpoint, from_folder, from_onnx, from_results, require_images
from certflow.doors.bundle import write_bundle
from certflow.doors.cli import main
from certflow.doors.code import from_python
from certflow.doors.given import Looks, given
from certflow.doors.labels import with_labels
from certflow.errors import ArtefactError, DataError
from certflow.kinds.registry import spec_class
from certflow.models.checkpoint import load_model
from certflow.models.hf_folder import image_data
from certflow.noise import Gaussian

SAMPLER = spec_class("sampler", "fixed")(n0=40, n=600)
CERTIFICATE = spec_class("certificate", "neyman_pearson")(sampler="fixed")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("bring"))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return DIGITS.read("test", data_root(DIGITS)).read(np.arange(0, 200, 20))


def logits(model, images) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.from_numpy(images).float() / 255)


def test_results_say_themselves_what_they_are(home, images):
    brought = from_results(home.given["model"])
    wanted, record = load_model(home.given["model"], MODEL, DIGITS.info())
    assert torch.equal(logits(brought.model, images), logits(wanted, images))
    assert (brought.shape, brought.classes, brought.noise, brought.dataset) == ((1, 8, 8), 10, NOISE, DIGITS)
    assert brought.made == record.spec and brought.recorded()["source"] == "results" and len(brought.digest) == 64
    with pytest.raises(ArtefactError, match="digits.json: is damaged"):
        from_results(home.folder / "digits.json")


def test_a_model_of_texts_is_refused_in_words(home, tmp_path):
    brought = from_results(home.given["model"])
    require_images(brought)
    texts = replace(brought, dataset=spec_class("dataset", "r8")())
    for refused in (lambda: require_images(texts), lambda: write_bundle(texts, tmp_path / "bundle")):
        with pytest.raises(DataError, match="is a model of texts, and radii are those of images; .*docs/knowledge.md"):
            refused()
    assert not (tmp_path / "bundle").exists()


def test_a_checkpoint_is_read_and_examined(home, images):
    path, test = home.folder / "w.pth", DIGITS.read("test", data_root(DIGITS))
    info = DIGITS.info()
    plain = from_checkpoint(path, MODEL, info=info)
    assert plain.examination is None and plain.warnings == ()
    assert torch.equal(logits(plain.model, images), logits(from_results(home.given["model"]).model, images))
    examined = from_checkpoint(path, MODEL, info=info, test=test, noise=NOISE)
    assert torch.equal(logits(examined.model, images), logits(plain.model, images))
    assert examined.examination.images >= 64 and examined.digest == plain.digest
    wrong = from_checkpoint(path, MODEL, info=info, test=test, noise=NOISE, mean=(20.0,), sd=(0.1,))
    assert wrong.warnings and wrong.digest != plain.digest
    with pytest.raises(ArtefactError, match="none.pth: is not there"):
        from_checkpoint(home.folder / "none.pth", "lenet")


def test_a_denoiser_stands_before_the_model(home, images, tmp_path):
    spec = spec_class("denoiser", "dncnn").small()
    torch.manual_seed(0)
    denoiser = spec.build(DataInfo(1, (1, 8, 8)), 0.5)
    torch.save(denoiser.network.state_dict(), tmp_path / "d.pth")
    brought = from_results(home.given["model"])
    entry = type(spec)(**{**spec.model_dump(exclude={"kind"}, exclude_unset=True), "weights": str(tmp_path / "d.pth")})
    composed = behind(brought, entry, (1, 8, 8), 0.5)
    x = torch.from_numpy(images).float() / 255
    with torch.inference_mode():
        assert torch.equal(composed.model.eval()(x), brought.model(denoiser.eval()(x)))
    assert composed.digest != brought.digest
    with pytest.raises(ValueError, match="needs a torch module behind it"):
        behind(from_python_code(tmp_path), entry, (1, 8, 8), 0.5)


def from_python_code(folder: Path, name: str = "code_of_mine"):
    (folder / f"{name}.py").write_text(CODE + "\n\ndef function():\n    return lambda x: x.flatten(1)[:, :10]\n")
    sys.path.insert(0, str(folder))
    try:
        return from_python(f"{name}:function")
    finally:
        sys.path.remove(str(folder))
        del sys.modules[name]


def test_code_is_known_by_its_file(tmp_path):
    brought = from_python_code(tmp_path)
    assert brought.source == "python" and brought.noise is None and brought.shape is None
    assert brought.model(torch.ones(2, 1, 4, 4)).shape == (2, 10)
    (tmp_path / "broken_code.py").write_text("import nowhere_at_all\n")
    with pytest.raises(DataError, match="there is no module nowhere_at_all"):
        sys.path.insert(0, str(tmp_path))
        try:
            from_python("broken_code:build")
        finally:
            sys.path.remove(str(tmp_path))


def test_a_part_of_the_images_keeps_its_numbers():
    whole = given("digits:test", Looks())
    for text, rows in {"digits:test::50": slice(None, None, 50), "digits:test[10:40:3]": slice(10, 40, 3)}.items():
        part = given(text, Looks())
        assert np.array_equal(part.index, np.arange(445)[rows])
        assert np.array_equal(part.read(slice(None)), whole.read(slice(None))[rows])
        assert np.array_equal(part.read(slice(2, 4)), whole.read(slice(None))[rows][2:4])
        assert np.array_equal(part.labels, whole.labels[rows]) and part.digest() != whole.digest()
    assert given("test::50", Looks(), DIGITS).digest() == given("digits:test::50", Looks()).digest()
    with pytest.raises(DataError, match="the step is 0"):
        given("digits:test::0", Looks())


def test_folders_without_an_order_of_classes_are_refused(home, tmp_path, capsys):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "pets" / name / "a.png")
    found = given(str(tmp_path / "pets"), Looks(shape=(1, 8, 8)))
    assert found.labels.tolist() == [0, 1] and found.folders == ("cat", "dog")
    command = ["certify", "--model", str(home.given["model"]), "--images", str(tmp_path / "pets"), "--quiet"]
    assert main(command) == 1
    assert "has 2 class folders, the model has 10 classes; call" in capsys.readouterr().err
    (tmp_path / "labels.csv").write_text("file,label\ncat/a.png,3\ndog/a.png,5\n")
    assert main([*command, "--labels", str(tmp_path / "labels.csv"), "--n", "100"]) == 0
    assert [line.split("\t")[:2] for line in capsys.readouterr().out.splitlines()[1:]] == [["0", "3"], ["1", "5"]]


def class_folders(folder: Path, classes: int = 3, name: str = "1.png") -> Path:
    """A folder for each class with an image of the same name in it."""
    for number in range(classes):
        (folder / str(number)).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(folder / str(number) / name)
    return folder


LABELS = {
    "ends of paths": ("{}/1.png", [2, 1, 0]),
    "longer ends": ("digits/./{}/1.png", [2, 1, 0]),
    "whole paths": ("{folder}/{}/1.png", [2, 1, 0]),
    "a name that all have": ("1.png", "1.png: is the end of the paths of 3 images; write more of their paths"),
    "folders of elsewhere": ("/elsewhere/{}/1.png", "0/1.png has no label"),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_are_of_the_files_that_they_name(tmp_path, case):
    written, wanted = LABELS[case]
    folder = class_folders(tmp_path / "digits")
    rows = [f"{written.format(number, folder=folder)},{2 - number}" for number in range(3)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    images = given(str(folder), Looks())
    if isinstance(wanted, list):
        assert with_labels(images, tmp_path / "labels.csv").labels.tolist() == wanted
    else:
        with pytest.raises(DataError, match=wanted):
            with_labels(images, tmp_path / "labels.csv")


def test_the_label_of_one_file_is_not_that_of_others_with_its_name(tmp_path):
    images = given(str(class_folders(tmp_path / "digits")), Looks())
    (tmp_path / "labels.csv").write_text("file,label\n2/1.png,7\n")
    with pytest.raises(DataError, match=r"labels.csv: image .*digits/0/1.png has no label"):
        with_labels(images, tmp_path / "labels.csv")


def test_of_two_columns_of_one_name_neither_is_taken(tmp_path):
    (tmp_path / "labels.csv").write_text("idx,label,label\n0,1,2\n")
    with pytest.raises(DataError, match="has the columns idx, label, label; write a table"):
        with_labels(given(str(class_folders(tmp_path / "digits", 1)), Looks()), tmp_path / "labels.csv")


def test_a_name_that_looks_like_a_choice_is_a_name_where_it_is_there(tmp_path):
    folder = class_folders(tmp_path / "scans[0:2]")
    assert len(given(str(folder), Looks())) == 3
    assert len(given(f"{folder}[0:2]", Looks())) == 2


def huge(path: Path) -> None:
    """The beginning of a PNG file of 40,000 x 40,000 pixels."""
    header = struct.pack(">4sIIBBBBB", b"IHDR", 40_000, 40_000, 8, 0, 0, 0, 0)
    checked = header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + checked + struct.pack(">I4s", 9, b"IDAT"))


@pytest.mark.parametrize("shape", [None, (1, 8, 8)])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "cannot be read .it is not a regular file."),
        (huge, "is not an intact image file .Image size"),
        (Path.touch, "is not an intact image file"),
        (lambda path: path.symlink_to("nowhere"), "cannot be read .No such file or directory."),
    ],
)
def test_what_is_no_image_is_told_and_waited_for_by_nobody(tmp_path, make, message, shape):
    make(tmp_path / "a.png")
    with pytest.raises(DataError, match=f"a.png: {message}"):
        given(str(tmp_path), Looks(shape=shape)).read(slice(None))


def test_images_beside_class_folders_are_not_passed_over(tmp_path):
    folder = class_folders(tmp_path)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "b.png")
    with pytest.raises(DataError, match="b.png: is an image beside class folders"):
        given(str(folder), Looks())


def test_an_image_of_a_kind_that_is_not_read_is_not_passed_over(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,1\n")
    (tmp_path / ".b.gif").write_bytes(b"")
    assert len(given(str(tmp_path), Looks())) == 1
    (tmp_path / "b.GIF").write_bytes(b"GIF89a")
    with pytest.raises(
        DataError, match="b.GIF: is an image of a kind that is not read .*.webp.; convert it, or move it"
    ):
        given(str(tmp_path), Looks())


def test_a_folder_of_weights_is_named_as_one(tmp_path):
    with pytest.raises(ArtefactError, match="is a folder; name the weight file in it"):
        from_checkpoint(tmp_path, "lenet")


def test_a_folder_of_transformers_says_itself_what_it_is(images, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    settings = {
        **spec_class("model", "hf_image").example["settings"],
        "image_size": 8,
        "num_channels": 1,
        "num_labels": 10,
    }
    theirs = transformers.ViTForImageClassification(transformers.ViTConfig(**settings)).eval()
    folder = str(tmp_path / "a model")
    theirs.save_pretrained(folder)
    (tmp_path / "a model" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5], "image_std": [0.25]})
    )
    np.save(tmp_path / "images.npy", images)
    capsys.readouterr()
    shown = [
        "certify",
        "--images",
        str(tmp_path / "images.npy"),
        "--noise",
        "gaussian:0.5",
        "--n",
        "20",
        "--quiet",
        "--model",
    ]
    assert main([*shown, folder]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(images) + 1 and "Loading" not in err
    spec = spec_class("model", "hf_image")(weights=folder)
    found = from_folder(folder, spec, image_data(folder, (1, 8, 8)))
    wanted = logits(lambda x: theirs(pixel_values=(x - 0.5) / 0.25).logits, images)
    torch.testing.assert_close(logits(found.model, images), wanted)
    assert main([*shown, folder, "--mean", "0.5"]) == 1
    assert "--mean: is for weights made elsewhere" in capsys.readouterr().err
    assert main([*shown, str(tmp_path)]) == 1
    assert "is a folder; name the weight file in it" in capsys.readouterr().err


EXPORT = """
import sys, torch
from certflow.doors.bring import from_results
from certflow.doors.cli import main
model, folder = sys.argv[1:]
code = main(["export", "--model", model, "--out", f"{folder}/bundle", "--onnx"])
image = torch.rand(2, 1, 8, 8)
torch.onnx.export(from_results(model).model, (image,), f"{folder}/fixed.onnx", dynamo=True, verbose=False)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def exported(home, tmp_path_factory) -> Path:
    """The model as an ONNX file, and beside its folder as one for two images: by another process, as torch's exporter warns of
    its own ways."""
    folder = tmp_path_factory.mktemp("onnx")
    command = [sys.executable, "-W", "ignore", "-c", EXPORT, str(home.given["model"]), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bundle" / "model.onnx"


def test_an_onnx_file_gives_the_counts_of_the_network(home, images, exported):
    brought, ours = from_onnx(exported), from_results(home.given["model"])
    assert (brought.shape, brought.classes) == ((1, 8, 8), 10)
    torch.testing.assert_close(logits(brought.model, images), logits(ours.model, images), rtol=1e-4, atol=1e-4)
    counts = [
        certify(one.model, images, NOISE, SAMPLER, CERTIFICATE, device="cpu", inference=one.inference).arrays["counts"]
        for one in (brought, ours)
    ]
    assert np.abs(counts[0] - counts[1]).sum() <= 4  # a tie within rounding may fall either way


def test_rows_of_an_onnx_network_do_not_depend_on_their_company(images, exported):
    counts = [
        certify(from_onnx(exported).model, images[rows], NOISE, SAMPLER, CERTIFICATE, device="cpu", index=index)
        for rows, index in ((slice(None), np.arange(10)), (slice(6, 7), [6]))
    ]
    assert np.array_equal(counts[0].arrays["counts"][6], counts[1].arrays["counts"][0])


def test_onnx_files_that_cannot_be_used_are_refused(tmp_path, exported):
    with pytest.raises(DataError, match="is not there"):
        from_onnx(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(DataError, match="onnxruntime cannot read it"):
        from_onnx(tmp_path / "text.onnx")
    with pytest.raises(DataError, match="takes batches of 2 images only; export it with a batch axis that is free"):
        from_onnx(exported.parents[1] / "fixed.onnx")


@pytest.fixture
def onnx(tmp_path):
    """Makes an ONNX file of a network with these outputs, each made of the pixels: probabilities are the first ten."""
    from onnx import TensorProto, helper

    def made(sides=(1, 8, 8), **outputs) -> Path:
        value, node = helper.make_tensor_value_info, helper.make_node
        ways = {
            "probabilities": [node("Slice", ["flat", "first", "last", "axis"], ["probabilities"])],
            "labels": [node("ArgMax", ["flat"], ["labels"], axis=1, keepdims=0)],
            "words": [node("ArgMax", ["flat"], ["best"], axis=1), node("SequenceConstruct", ["best"], ["words"])],
        }
        nodes = [node("Flatten", ["x"], ["flat"])]
        nodes += [one for name in outputs for one in ways.get(name, [node("Identity", ["flat"], [name])])]
        kinds = {"labels": TensorProto.INT64}
        infos = [
            helper.make_tensor_sequence_value_info(name, TensorProto.INT64, None)
            if name == "words"
            else value(name, kinds.get(name, TensorProto.FLOAT), ["batch", *size])
            for name, size in outputs.items()
        ]
        numbers = [
            helper.make_tensor(name, TensorProto.INT64, [1], [one])
            for name, one in {"first": 0, "last": 10, "axis": 1}.items()
        ]
        graph = helper.make_graph(
            nodes, "network", [value("x", TensorProto.FLOAT, ["batch", *sides])], infos, initializer=numbers
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        (tmp_path / "made.onnx").write_bytes(model.SerializeToString())
        return tmp_path / "made.onnx"

    return made


def test_of_several_outputs_of_an_onnx_file_the_logits_are_taken_and_no_features(images, onnx):
    x = torch.from_numpy(images[:8]).float() / 255
    for outputs, classes in [
        ({"any": [64]}, 64),
        ({"features": [64], "logits": [64]}, 64),
        ({"labels": [], "probabilities": [10]}, None),
        ({"labels": [], "probabilities": [10], "words": []}, None),
    ]:
        brought = from_onnx(onnx(**outputs))
        assert brought.classes == classes
        base = ready(brought.model, (1, 8, 8), classes=classes, device="cpu", inference=brought.inference)
        wanted = x.flatten(1)[:, : classes or 10]
        assert torch.equal(base.logits(x), wanted), outputs
    with pytest.raises(
        ValueError, match=r"returns a dict \(features: .*64\], probabilities: .*10\]\), in which no logits"
    ):
        ready(from_onnx(onnx(features=[64], probabilities=[10])).model, (1, 8, 8), device="cpu")


def test_an_onnx_file_with_its_channels_last_is_refused(onnx):
    with pytest.raises(DataError, match=r"made.onnx: takes images \[8, 8, 3\] with their channels last; export it for"):
        from_onnx(onnx((8, 8, 3), logits=[10]))
    assert from_onnx(onnx(("height", "width", 3), logits=[10])).shape is None


def test_without_onnxruntime_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        from_onnx(tmp_path / "model.onnx")


def test_what_was_brought_is_plain(home):
    brought = from_results(home.given["model"])
    assert json.loads(json.dumps(brought.recorded())) == brought.recorded()
    assert brought.noise == Gaussian(sigma=0.5)
    assert ready(brought.model, brought.shape, classes=brought.classes, device="cpu").classes == 10
