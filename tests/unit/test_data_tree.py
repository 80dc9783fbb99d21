"""Trees of image files: decoding, sizes, colours, random crops, and everything that can be wrong with a tree."""

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from certflow.data.kinds import imagenet
from certflow.data.kinds.image_folder import ImageFolder
from certflow.data.kinds.imagenet import ImageNet
from certflow.data.pixels import CROP_WORDS, Rendering, crop_box
from certflow.data.store import prepare
from certflow.errors import DataError


def photo(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth random pixels."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chw(image: Image.Image) -> np.ndarray:
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def write_tree(root: Path, size=(8, 8), classes=("ant", "bee", "cow"), images=(3, 2), mode="RGB") -> None:
    """train and test folders with a few PNG and JPEG files per class."""
    for split, count in zip(("train", "test"), images, strict=True):
        for c, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                ending = ("png", "jpg")[i % 2]
                photo(*size, mode, seed=100 * c + 10 * i + count).save(folder / f"{i}.{ending}")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "root"
    write_tree(root)
    return root


def spec(root: Path, **fields) -> ImageFolder:
    return ImageFolder(**{"root": str(root), "classes": 3, "shape": [3, 8, 8], **fields})


# --- decoding and sizes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_are_those_that_pillow_decodes(format, mode):
    data = encoded(photo(6, 9, mode), format)
    rendering = Rendering((len(mode), 6, 9), colour="convert")
    assert np.array_equal(rendering.evaluate(data, "x"), chw(Image.open(BytesIO(data)).convert(mode)))


@pytest.mark.parametrize(
    ("mode", "channels", "fits"),
    [
        ("RGB", 3, True),
        ("P", 3, True),
        ("L", 3, False),
        ("RGBA", 3, False),
        ("L", 1, True),
        ("1", 1, True),
        ("RGB", 1, False),
    ],
)
def test_colours_must_fit_unless_conversion_is_asked_for(mode, channels, fits):
    data = encoded(photo(4, 4).convert(mode))
    strict, convert = (Rendering((channels, 4, 4), colour=colour) for colour in ("strict", "convert"))
    wanted = chw(Image.open(BytesIO(data)).convert("RGB" if channels == 3 else "L"))
    assert np.array_equal(convert.evaluate(data, "x"), wanted)
    if fits:
        assert np.array_equal(strict.evaluate(data, "x"), wanted)
    else:
        with pytest.raises(DataError, match=rf"x: is of mode {mode}, but {channels} channel.*colour: convert"):
            strict.evaluate(data, "x")


def test_a_palette_with_transparency_is_no_lossless_colour_image():
    data = encoded(photo(4, 4).convert("P"), transparency=b"\x10\x80")
    with pytest.raises(DataError, match="mode P"):
        Rendering((3, 4, 4)).evaluate(data, "x")
    assert Rendering((3, 4, 4), colour="convert").evaluate(data, "x").shape == (3, 4, 4)


def test_sixteen_bits_are_never_cut_silently():
    data = encoded(Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000))
    with pytest.raises(DataError, match="more than 8 bits"):
        Rendering((1, 4, 4), colour="convert").evaluate(data, "x")


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 90), st.integers(20, 90), st.integers(16, 40))
def test_shorter_side_and_centre_crop_are_torchvisions(height, width, side):
    from torchvision import transforms

    size = 16
    image = photo(height, width)
    found = Rendering((3, size, size), "shorter_side_crop", side).evaluate(encoded(image), "x")
    assert np.array_equal(found, chw(transforms.CenterCrop(size)(transforms.Resize(side)(image))))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 40), st.integers(1, 40))
def test_the_default_shorter_side_just_covers_the_shape(height, width, h, w):
    found_w, found_h = Rendering((3, h, w), "shorter_side_crop")._covering(width, height)
    assert found_w >= w and found_h >= h
    assert found_w == w or found_h == h
    scale = max(w / width, h / height)
    assert abs(found_w - width * scale) <= 0.5 + 1e-9 and abs(found_h - height * scale) <= 0.5 + 1e-9


def test_exact_ignores_proportions():
    image = photo(20, 31)
    found = Rendering((3, 8, 5), "exact").evaluate(encoded(image), "x")
    assert np.array_equal(found, chw(image.resize((5, 8), Image.Resampling.BILINEAR)))


# --- the random crop of ImageNet training -----------------------------------------------------------------------------


def random_words(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, (rows, CROP_WORDS), dtype=np.int64)


class Scripted:
    """Stands in for torch inside torchvision's `get_params`: its random numbers are made of given 32-bit words."""

    def __init__(self, words: np.ndarray):
        areas, ratios = words[:10].tolist(), words[10:20].tolist()
        self.tries = [word for pair in zip(areas, ratios, strict=True) for word in pair]
        self.places = words[20:22].tolist()

    def tensor(self, values):
        return values

    def log(self, values):
        return [math.log(value) for value in values]

    def exp(self, number):
        return Number(math.exp(number.value))

    def empty(self, _):
        return self

    def uniform_(self, low, high):
        return Number(low + (high - low) * (self.tries.pop(0) / 2**32))

    def randint(self, low, high, size):
        return Number(low + (self.places.pop(0) * (high - low) >> 32))


@dataclass
class Number:
    value: float

    def item(self):
        return self.value


@pytest.mark.parametrize("size", [(500, 375), (200, 640), (90, 700), (3, 2), (1, 1)])
def test_random_crops_are_torchvisions_for_the_same_random_numbers(size, monkeypatch):
    """Its own code, fed with our words; for the longest image most tries fail."""
    from torchvision.transforms import transforms

    blank = Image.new("L", size)
    for words in random_words(500, 11):
        monkeypatch.setattr(transforms, "torch", Scripted(words))
        get_params = transforms.RandomResizedCrop.get_params
        top, left, h, w = get_params(blank, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
        assert crop_box(words, *size) == (left, top, w, h)


@pytest.mark.parametrize("size", [(1000, 100), (100, 1000), (300, 290)])
def test_when_no_try_fits_the_largest_centred_part_is_taken(size):
    from torchvision.transforms import RandomResizedCrop

    words = np.zeros(CROP_WORDS, dtype=np.int64)
    words[:10] = 2**32 - 1  # the whole area …
    words[10:20] = 2**32 - 1 if size[0] < size[1] else 0  # … at the ratio that fits least
    if size == (300, 290):
        words[10:20] = 0
    left, top, w, h = crop_box(words, *size)
    # torchvision's own fallback: an area that can never fit forces it.
    top_, left_, h_, w_ = RandomResizedCrop.get_params(Image.new("L", size), scale=(50.0, 51.0), ratio=(3 / 4, 4 / 3))
    assert (left, top, w, h) == (left_, top_, w_, h_)


def test_a_random_crop_is_torchvisions_resized_crop_of_that_box():
    from torchvision.transforms import functional

    data = encoded(photo(120, 160))
    rendering = Rendering((3, 32, 24), "shorter_side_crop", 40)
    flips = 0
    for words in random_words(40, 2):
        left, top, w, h = crop_box(words, 160, 120)
        wanted = functional.resized_crop(Image.open(BytesIO(data)), top, left, h, w, [32, 24])
        if words[22] >= 2**31:
            wanted, flips = functional.hflip(wanted), flips + 1
        assert np.array_equal(rendering.random_crop(data, "x", words), chw(wanted))
    assert 5 < flips < 35


# --- trees ------------------------------------------------------------------------------------------------------------


def test_a_tree_is_read_in_the_order_of_torchvisions_image_folder(tree):
    from torchvision.datasets import ImageFolder as Reference

    for name in ("train", "test"):
        reference = Reference(str(tree / name))
        split = spec(tree).read(name, tree)
        assert len(split) == len(reference)
        assert np.array_equal(split.labels, reference.targets)
        assert [split.describe(i) for i in range(len(split))] == [path for path, _ in reference.samples]
        wanted = np.stack([chw(image) for image, _ in reference])
        assert np.array_equal(split.read(np.arange(len(split))), wanted)


def test_files_of_nested_folders_belong_to_their_class_and_hidden_ones_to_none(tree):
    (tree / "test/bee/more").mkdir()
    photo(8, 8, seed=5).save(tree / "test/bee/more/9.png")
    (tree / "test/bee/.DS_Store").write_bytes(b"x")
    (tree / "test/README.txt").write_text("beside the class folders, nobody minds")
    split = spec(tree).read("test", tree)
    assert [path.decode() for path in split.paths[split.labels == 1]] == [
        "test/bee/0.png",
        "test/bee/1.jpg",
        "test/bee/more/9.png",
    ]


def test_links_are_followed_but_not_in_circles(tree):
    """Two links to a folder above would be followed 2 to the power of 40 times, until the system has enough of it."""
    (tree / "test/bee/ants").symlink_to(tree / "test/ant")
    assert len(spec(tree).read("test", tree)) == 8
    before = spec(tree).source_state(tree)
    for name in ("up", "again"):
        (tree / "test/ant" / name).symlink_to("..")
    with pytest.raises(
        DataError, match="test/ant/(up|again): is a link to a folder that it lies in .*test.; remove it"
    ):
        spec(tree).read("test", tree)
    assert spec(tree).source_state(tree) == before


def test_a_link_that_leads_nowhere_is_named(tree):
    (tree / "test/ant/9.png").symlink_to("nowhere.png")
    assert spec(tree).source_state(tree)
    with pytest.raises(DataError, match="test/ant/9.png: cannot be read .*restore it"):
        prepare(spec(tree), tree.parent / "m.json")


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0, 20, 0.6])
def test_a_truncated_image_is_named(tree, ending, keep, tmp_path):
    path = next((tree / "test/cow").glob(f"*.{ending}"))
    data = encoded(photo(8, 8), {"png": "PNG", "jpg": "JPEG"}[ending])
    path.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    with pytest.raises(DataError, match=f"{path}: is not an intact image file .*; replace or remove it"):
        prepare(spec(tree), tmp_path / "m.json")
    assert not (tmp_path / "m.json").exists()
    assert not list((tmp_path / "cache").glob("*.part"))


def test_the_first_image_of_another_size_is_named(tree, tmp_path):
    photo(9, 8).save(tree / "train/bee/1.jpg")
    with pytest.raises(
        DataError, match="train/bee/1.jpg: is 9×8 .height×width., but 8×8 was asked for; correct `shape`"
    ):
        prepare(spec(tree), tmp_path / "m.json")
    with pytest.raises(DataError, match="train/bee/1.jpg: is 9×8"):
        prepare(spec(tree, stream=True), tmp_path / "m.json")
    prepare(spec(tree, resize="exact"), tmp_path / "m.json")


def test_a_foreign_file_is_named(tree):
    (tree / "train/ant/notes.txt").write_text("x")
    with pytest.raises(DataError, match="train/ant/notes.txt: is not an image file .*remove it"):
        spec(tree).read("train", tree)


def test_an_empty_class_is_named(tree):
    for path in (tree / "train/ant").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="train/ant: holds no image"):
        spec(tree).read("train", tree)


def test_both_splits_need_the_same_classes(tree):
    (tree / "test/cow").rename(tree / "test/kuh")
    with pytest.raises(DataError, match="test: has no class folder 'cow', which .*train has"):
        spec(tree).read("train", tree)
    with pytest.raises(DataError, match="test: has no class folder 'cow', which .*train has"):
        spec(tree).read("test", tree)
    assert len(spec(tree, only="test").read("test", tree)) == 6


def test_the_number_of_classes_is_checked(tree):
    with pytest.raises(DataError, match="has 3 class folders .ant, bee, cow., but the dataset has 10 classes"):
        spec(tree, classes=10).read("train", tree)


def test_a_missing_tree_is_named_with_the_remedies(tmp_path):
    with pytest.raises(DataError) as caught:
        spec(tmp_path / "nowhere").read("train", tmp_path / "nowhere")
    for part in (
        tmp_path / "nowhere/train",
        "train/<class>/*",
        "test/<class>/*",
        "datasets.<name>.root",
        "CERTFLOW_DATA",
    ):
        assert str(part) in str(caught.value)
    assert "download: true" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": [2, 8, 8]}, "channels must be 1 or 3"),
        ({"shape": [3, 8]}, "shape"),
        ({"mean": [0.5, 0.5, 0.5]}, "give both or neither"),
        ({"mean": [0.5], "sd": [0.5]}, "one number per channel"),
        ({"mean": [0.5] * 3, "sd": [0.0] * 3}, "greater than 0"),
        ({"resize": "shorter_side_crop", "shorter_side": 7}, "at least 8"),
        ({"augmentation": "resized_crop_flip"}, "needs stream: true"),
        ({"download": True}, "no place to fetch"),
        ({"classes": 1}, "classes"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        spec(Path("x"), **wrong)


# --- ImageNet ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_imagenet(tmp_path, monkeypatch):
    """Two classes in ImageNet's layout, with a grey and a CMYK file among them."""
    monkeypatch.setenv("CERTFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(imagenet, "CLASSES", 2)
    monkeypatch.setattr(imagenet, "SIZE", {"train": 4, "test": 2})
    root = tmp_path / "root"
    for folder, count in (("train", 2), ("val", 1)):
        for c, wnid in enumerate(("n01440764", "n01443537")):
            (root / folder / wnid).mkdir(parents=True)
            for i in range(count):
                mode = ("RGB", "L", "CMYK")[(c + i) % 3]
                photo(250 + 20 * c, 300 - 40 * i, mode).save(root / folder / wnid / f"{wnid}_{i}.JPEG")
    return root


def test_imagenet_is_rendered_as_torchvision_does(tiny_imagenet):
    from torchvision import transforms
    from torchvision.datasets import ImageFolder as Reference

    for name, folder in (("train", "train"), ("test", "val")):
        transform = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
        reference = Reference(str(tiny_imagenet / folder), transform)
        split = ImageNet().read(name, tiny_imagenet)
        assert np.array_equal(split.labels, reference.targets)
        assert np.array_equal(split.read(np.arange(len(split))), np.stack([chw(image) for image, _ in reference]))


def test_an_incomplete_imagenet_is_refused(tiny_imagenet, tmp_path):
    spec = ImageNet(root=str(tiny_imagenet))
    (tiny_imagenet / "train/n01440764/n01440764_0.JPEG").unlink()
    with pytest.raises(DataError, match="has 3 images, the train split of imagenet has 4"):
        prepare(spec, tmp_path / "m.json")
    prepare(ImageNet(root=str(tiny_imagenet), only="test"), tmp_path / "m.json")


def test_imagenet_constants():
    usual, dsrs = ImageNet().info(), ImageNet(normalisation="dsrs").info()
    assert usual.mean == dsrs.mean == (0.485, 0.456, 0.406)
    assert usual.sd == (0.229, 0.224, 0.225) and dsrs.sd == (1.0, 1.0, 1.0)
    assert usual.size == {"train": 1_281_167, "test": 50_000} and usual.streams
    with pytest.raises(ValidationError, match="licence"):
        ImageNet(download=True)


def test_the_state_of_the_source_changes_with_any_file(tmp_path):
    from certflow.kinds.registry import spec_class

    spec = spec_class("dataset", "image_folder")(classes=2, shape=[3, 4, 4], only="train")
    assert spec.source_state(tmp_path / "nowhere") is None
    picture = tmp_path / "train" / "a" / "1.png"
    picture.parent.mkdir(parents=True)
    states = []
    for content in (b"one", b"another"):
        picture.write_bytes(content)
        states.append(spec.source_state(tmp_path))
    (tmp_path / "train" / "a" / "2.png").write_bytes(b"one")
    states.append(spec.source_state(tmp_path))
    picture.rename(picture.with_name("3.png"))
    states.append(spec.source_state(tmp_path))
    assert len(set(states)) == 4
    for other in ("readme.txt", "train/readme.txt", "train/a/.hidden", "train/.b/1.png", "more/a/1.png"):
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).write_bytes(b"passed over by readers, too")
        assert spec.source_state(tmp_path) == states[-1], other
