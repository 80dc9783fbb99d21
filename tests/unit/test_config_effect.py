"""Settings that change nothing beside others are refused where an entry states them, and nowhere else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import yaml

from certflow.config import load
from certflow.config.records import RECORDS
from certflow.config.validation import validated
from certflow.errors import ConfigError
from certflow.kinds.described import records
from certflow.kinds.effect import _marks
from certflow.kinds.registry import PACKAGES, kinds, revive, spec_class
from certflow.kinds.spec import Record

ROOT = Path(__file__).resolve().parents[2]
IMAGES = {"kind": "image_folder", "classes": 2, "shape": [1, 8, 8]}
NAMED = {"method": "m", "noise": "n"}
PAGE = {"dataset": "d", "model": "m", "noises": ["n"], "methods": ["g"], "knowledge": "k"}


def refused(family: str, fields: dict) -> list[str]:
    """What is said of an entry; nothing if it is right."""
    cls = RECORDS[family] if family in RECORDS else spec_class(family, fields["kind"])
    try:
        validated(cls, fields)
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("family", "fields", "stated", "message"),
    [
        ("method", {"kind": "gaussian", "schedule": "one_cycle"}, {"lr_step": 5}, "schedule: one_cycle, only with step"),
        ("method", {"kind": "gaussian", "schedule": "cosine"}, {"lr_gamma": 0.2}, "schedule: cosine, only with step"),
        ("method", {"kind": "gaussian", "schedule": "cosine"}, {"lr_drop_offset": 0}, "schedule: cosine, only with"),
        ("method", {"kind": "gaussian"}, {"warmup_epochs": 2}, "schedule: step, only with cosine_warmup"),
        ("method", {"kind": "gaussian"}, {"min_lr": 0.01}, "schedule: step, only with cosine_warmup"),
        ("method", {"kind": "gaussian", "update": "adam"}, {"momentum": 0.8}, "update: adam, only with sgd"),
        ("method", {"kind": "gaussian", "update": "adamw"}, {"nesterov": True}, "update: adamw, only with sgd"),
        ("method", {"kind": "gaussian"}, {"layer_decay": 0.5}, "update: sgd, only with adam or adamw"),
        ("method", {"kind": "gaussian"}, {"noise_warmup_unit": "step"}, "without noise_warmup"),
        ("method", {"kind": "consistency", "form": "xent"}, {"eta": 0.25}, "form: xent, only with default"),
        ("method", {"kind": "consistency", "form": "kl"}, {"entropy_form": "double_softmax"}, "only with default or xent"),
        ("method", {"kind": "smoothadv"}, {"ddn_gamma": 0.1}, "attack: pgd, only with ddn"),
        ("method", {"kind": "smoothmix"}, {"maxnorm_start": 1.0}, "without mix_step"),
        ("method", {"kind": "smoothmix", "mix_step": 8, "steps": 8}, {"maxnorm_start": 1.0}, "mix_step is `steps` or more"),
        ("method", {"kind": "catrs", "epochs": 8}, {"eps_double_epoch": 8}, "at epoch 8: the last epoch is 7"),
        ("method", {"kind": "catrs", "epochs": 8}, {"lr_extra_drop": {"epoch": 9}}, "at epoch 9: the last epoch is 7"),
        ("method", {"kind": "ftcadis", "start": "s"}, {"eps_double_epoch": 30}, "at epoch 30: the last epoch is 29"),
        ("method", {"kind": "ftcadis", "start": "s"}, {"rank": 8}, "mode: full, only with lora"),
        ("method", {"kind": "ftcadis", "start": "s", "selective": False}, {"warm_start": False}, "without selective"),
        ("method", {"kind": "knowledge", "pick": "all"}, {"alpha": 3.0}, "pick: all, only with sampled"),
        ("method", {"kind": "knowledge", "pick": "all"}, {"beta": 3.0}, "pick: all, only with sampled"),
        ("method", {"kind": "denoised", "classifier": NAMED}, {"input_norm": "half"}, "with classifier"),
        ("method", {"kind": "denoised", "denoiser": "d"}, {"epochs": 7}, "where nothing is trained"),
        ("method", {"kind": "denoised", "denoiser": "d", "objective": "mse"}, {"switch_epoch": 5}, "adam_then_sgd"),
        ("method", {"kind": "external", "checkpoint": "a.pth"}, {"lr": 0.2}, "where nothing is trained"),
        ("method", {"kind": "external", "checkpoint": "a.pth"}, {"start_from": "b.pth"}, "where nothing is trained"),
        ("denoiser", {"kind": "dncnn"}, {"sigma_range": [0.1, 0.5]}, "on a denoiser without weights"),
        ("denoiser", {"kind": "dncnn"}, {"allow_sigma_extrapolation": True}, "on a denoiser without weights"),
        ("denoiser", {"kind": "diffusion", "weights": "w"}, {"widths": [64, 64]}, "with weights"),
        ("denoiser", {"kind": "diffusion", "hub": "a/b", "hub_revision": "0" * 40}, {"head_dim": 32}, "with hub"),
        ("denoiser", {"kind": "diffusion"}, {"download": True}, "without hub"),
        ("denoiser", {"kind": "diffusion", "mode": "paper"}, {"t_rule": "ceil"}, "mode: paper, only with exact"),
        ("denoiser", {"kind": "diffusion"}, {"train": {"criterion": "mse"}}, "criterion has no effect"),
        ("dataset", {**IMAGES, "resize": "exact"}, {"shorter_side": 9}, "only with shorter_side_crop"),
        ("dataset", {"kind": "r8"}, {"pretrained": "p"}, "tokenizer: words, only with pretrained"),
        ("dataset", {"kind": "text_table", "task": "anli"}, {"header": False}, "format: jsonl, only with tsv or csv"),
        ("model", {"kind": "hf_image", "weights": "w"}, {"hub_revision": "1"}, "without hub"),
        ("sampler", {"kind": "decide"}, {"beta": 0.1}, "test: optimal, only with mixture"),
        ("sampler", {"kind": "decide", "test": "mixture"}, {"tolerance": 0.1}, "test: mixture, only with optimal"),
        ("sampler", {"kind": "double", "q": {"family": "scaled"}}, {"level": 0.1}, "where no percentile follows"),
        ("diagnoses", PAGE, {"images": "i"}, "without attacks"),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_refused_where_it_is_stated(family, fields, stated, message):
    assert refused(family, fields) == []
    (name,) = stated
    (line,) = refused(family, {**fields, **stated})
    assert line.startswith(f"{name}: ") and message in line and line.endswith("; leave it out")


def test_what_a_record_of_a_result_states_can_be_taken_as_an_entry():
    """It states every setting, also those that have no effect, as they are anyway."""
    for family, fields in (
        ("sampler", {"kind": "decide", "test": "mixture"}),
        ("sampler", {"kind": "decide"}),
        ("method", {"kind": "gaussian", "schedule": "cosine", "update": "adam"}),
        ("denoiser", {"kind": "diffusion", "train": {"sigma_range": (0.0, 0.5)}}),
    ):
        record = spec_class(family, fields["kind"])(**fields)
        assert refused(family, record.model_dump(mode="json")) == []


def test_a_setting_within_another_is_named_with_its_place():
    (line,) = refused("denoiser", {"kind": "dncnn", "train": {"momentum": 0.5}})
    assert line == "train.momentum: has no effect with update: adamw, only with sgd; leave it out"


def test_settings_that_a_method_adds_a_value_for_keep_their_meaning():
    adam = {"kind": "denoised", "denoiser": "d", "objective": "mse", "lr_step": 3}
    assert refused("method", {**adam, "update": "adam_then_sgd", "momentum": 0.8, "switch_epoch": 20}) == []
    assert [line.partition(":")[0] for line in refused("method", {**adam, "schedule": "cosine"})] == ["lr_step"]


def test_with_a_preset_only_the_entrys_own_settings_must_have_an_effect():
    """Which depends on the row: additions of a rank are learnt under that of ImageNet, not under that of CIFAR-10."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["methods"] |= {
        "adamw": {"kind": "gaussian", "preset": "paper", "update": "adamw"},
        "slower": {"kind": "gaussian", "preset": "paper", "update": "adamw", "momentum": 0.5},
        "fine": {"kind": "ftcadis", "preset": "ftcadis2024", "start": "a", "rank": 2},
    }
    study = load(raw)
    spec = study.method("adamw", "mnist", "gauss-0.25")
    assert spec.update == "adamw" and revive("method", spec.canonical()) == spec
    assert study.method("fine", "imagenet", "gauss-0.25").rank == 2
    for method, dataset, message in (
        ("slower", "mnist", "momentum: has no effect with update: adamw, only with sgd; leave it out"),
        ("fine", "cifar10", "rank: has no effect with mode: full, only with lora; leave it out"),
    ):
        with pytest.raises(ConfigError) as caught:
            study.method(method, dataset, "gauss-0.25")
        assert caught.value.problems == [message]


def every_record() -> Iterator[type[Record]]:
    """Every record that a configuration may hold."""
    for cls in [*RECORDS.values(), *(spec_class(family, kind) for family in PACKAGES for kind in kinds(family))]:
        yield from records(cls)


def choices(annotation) -> tuple:
    """The values of literals in a type."""
    own = get_args(annotation) if get_origin(annotation) is Literal else ()
    return (*own, *(value for part in get_args(annotation) if get_origin(part) for value in choices(part)))


@pytest.mark.parametrize("record", dict.fromkeys(every_record()), ids=lambda record: record.__name__)
def test_marks_name_settings_and_values_that_there_are(record):
    for name, marks in _marks(record).items():
        for mark in marks:
            assert mark.setting in record.model_fields and mark.setting != name
            known = choices(record.model_fields[mark.setting].annotation)
            assert not known or set(mark.values) & set(known), (name, mark.setting, mark.values)
