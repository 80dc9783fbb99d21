"""Corrupted copies in the configuration: what is refused, and what they leave alone."""

import pytest
from test_config import ROOT, problems, specs

from certflow.config import load
from certflow.config.files import merged


@pytest.fixture
def raw():
    """The project's own configuration, free to be changed."""
    return merged([ROOT / "config.yaml", ROOT / "configs/corruptions.yaml"])


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            ("experiments", "mnist", "corruptions"),
            ["nope"],
            "experiments.mnist.corruptions: no entry 'nope' in corruptions",
        ),
        (
            ("experiments", "mnist", "corruptions"),
            ["cifar10-c"],
            "experiments.mnist.corruptions: cifar10-c on mnist: CIFAR-C holds images of shape (3, 32, 32)",
        ),
        (
            ("experiments", "imagenet", "corruptions"),
            ["computed"],
            "experiments.imagenet.corruptions: computed on imagenet: copies are held in memory",
        ),
        (
            ("images", "every20", "split"),
            "train",
            "experiments.mnist-c.corruptions: there are copies of test images only",
        ),
        (
            ("corruptions", "computed", "names"),
            ["rain"],
            "corruptions.computed.names: has no corruption 'rain'; known: ",
        ),
        (("corruptions", "a@b"), {"kind": "computed"}, "corruptions.a@b: a name is made of"),
    ],
)
def test_corrupted_copies_that_cannot_be_are_named(raw, path, value, expected):
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert any(line.startswith(expected) for line in problems(raw)), problems(raw)


def test_corrupted_copies_are_image_sets_of_their_own_and_leave_the_rest_alone(raw):
    raw["experiments"]["mnist"]["methods"] = ["gaussian"]
    before = load(raw)
    raw["experiments"]["mnist"]["corruptions"] = ["computed"]
    raw["corruptions"]["computed"] |= {"names": ["contrast", "pixelate"], "severities": [2]}
    study = load(raw)
    assert specs(study) == specs(before)
    assert {run.images for run in study.corrupted_runs("mnist")} == {
        "every20@computed@contrast",
        "every20@computed@pixelate",
    }
    assert len(list(study.corrupted_runs("mnist"))) == 2 * len(list(study.runs("mnist")))
    images = study.images_spec("every20@computed@contrast")
    assert images["stride"] == 20 and images["corruption"] == {
        "kind": "computed",
        "revision": 1,
        "severities": [2],
        "name": "contrast",
    }
    assert study.images_spec("every20") == {"split": "test", "skip": 0, "stride": 20, "max": None}
    raw["corruptions"]["computed"]["names"] = ["contrast"]
    assert load(raw).images_spec("every20@computed@contrast") == images
