"""Fine-tuned classifiers behind denoisers as a stage: made, stored as plain weights, loaded, sampled, refused."""

import pytest
import torch
from safetensors.torch import load_file
from test_denoising_stage import Workshop, configured, raw  # noqa: F401  (raw is a fixture)

from certflow.config import load
from certflow.errors import ConfigError
from certflow.models.header import read_header
from certflow.training.kinds.ftcadis import FtCadis

TUNED = {"kind": "ftcadis", "start": "ranged", "noises": 2, "steps": 1, "epochs": 1, "batch": 256, "warmup_epochs": 0}
VIT = {
    "kind": "timm",
    "name": "vit_tiny_patch16_224",
    "settings": {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2},
}


def with_tuned(raw, **methods):  # noqa: F811
    """The configuration with fine-tuned methods, and an experiment of them on a small transformer."""
    raw["models"]["vit"] = VIT
    raw["methods"] |= methods
    raw["experiments"]["denoised"] |= {"model": "vit", "methods": list(methods), "noises": ["gauss-0.50"]}
    return raw


class VitWorkshop(Workshop):
    model_name = "vit"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    methods = {"full": TUNED, "lora": {**TUNED, "mode": "lora", "rank": 2, "lr": 1e-3}}
    return VitWorkshop(load(with_tuned(configured(), **methods)), tmp_path_factory.mktemp("tuned"))


def loaded(shop, method):
    spec = shop.study.model_spec("digits", "vit", method, "gauss-0.50", 0)
    info = shop.study.datasets["digits"].info()
    return FtCadis.load(shop.model(method, "gauss-0.50"), spec, info, spec=spec)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_file_holds_the_denoiser_as_it_was_and_a_plain_classifier(shop, method):
    before, after = (load_file(shop.model(name, "gauss-0.50")) for name in ("ranged", method))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    learned = {name for name in before if name.startswith("classifier.1.")}
    if method == "lora":
        learned = {name for name in learned if "head." in name or name.endswith("qkv.weight")}
    assert changed == learned


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_is_loaded_as_any_other_and_says_what_it_is_made_from(shop, method):
    network, record = loaded(shop, method)
    assert not network.training and not any(parameter.requires_grad for parameter in network.classifier.parameters())
    assert record.parents["pair"] == read_header(shop.model("ranged", "gauss-0.50"))[1]
    assert record.facts["condition"] == 0.5
    assert record.notes["trained_parameters"] < sum(p.numel() for p in network.classifier.parameters()) + 1
    assert {"quality", "trained_parameters"} <= set(record.notes)
    with torch.inference_mode():
        assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_its_log_has_the_columns_of_the_method(shop):
    columns = shop.model("full", "gauss-0.50").with_name("training.tsv").read_text().splitlines()[0].split("\t")
    assert {"train_masked", "train_rescued", "train_loss_ce", "train_loss_adv"} <= set(columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": "nothing"}, "start: 'nothing' is not a method of kind denoised"),
        ({"start": "clean"}, "start: 'clean' is not a method of kind denoised"),
        ({"start": "tuned"}, "start: 'tuned' is not a method of kind denoised"),
        ({"start": "bare"}, "start: bare has no denoiser"),
        ({"mode": "lora", "rank": 17}, "rank must be at most the attention's width 16, got 17"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(raw, change, message):  # noqa: F811
    with pytest.raises(ConfigError, match=message):
        load(with_tuned(raw, tuned={**TUNED, **change}))


def test_a_fine_tuned_classifier_is_not_put_behind_another_denoiser(raw):  # noqa: F811
    """Its file holds a denoiser, too."""
    raw["methods"]["twice"] = {"kind": "denoised", "classifier": {"method": "tuned", "noise": "gauss-0.50"}}
    changed = with_tuned(raw, tuned=TUNED)
    changed["experiments"]["denoised"]["methods"] = ["twice"]
    with pytest.raises(ConfigError, match="classifier: tuned is itself a denoised method"):
        load(changed)


def test_a_network_without_attention_is_refused(raw):  # noqa: F811
    changed = with_tuned(raw, tuned={**TUNED, "mode": "lora"})
    changed["experiments"]["denoised"]["model"] = "small"
    with pytest.raises(ConfigError, match=r"no attention to adapt.*\(model small\)"):
        load(changed)


def test_a_classifier_of_transformers_is_fine_tuned_from_its_folder(raw, tmp_path):  # noqa: F811
    """Off the shelf: the folder's weights behind the denoiser, then additions to its queries and values."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.ViTConfig(image_size=16, patch_size=8, num_channels=1, num_labels=10, **sizes)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "shelf")
    (tmp_path / "shelf/preprocessor_config.json").write_text('{"image_mean": [0.25], "image_std": [0.5]}')
    changed = with_tuned(raw, tuned={**TUNED, "start": "shelf", "mode": "lora", "rank": 2, "lr": 1e-3})
    changed["models"]["vit"] = {"kind": "hf_image", "weights": str(tmp_path / "shelf"), "resize": 16}
    changed["methods"]["shelf"] = {"kind": "denoised", "denoiser": "ranged"}
    shop = VitWorkshop(load(changed), tmp_path)
    before, after = (load_file(shop.model(name, "gauss-0.50")) for name in ("shelf", "tuned"))
    assert before["classifier.0.mean"].item() == 0.25
    moved = {name.rpartition("layers.")[2] for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in moved if "classifier.weight" not in name and "classifier.bias" not in name} == {
        f"{block}.attention.{part}.weight" for block in (0, 1) for part in ("q_proj", "v_proj")
    }
    network, record = FtCadis.load(
        shop.model("tuned", "gauss-0.50"),
        shop.study.model_spec("digits", "vit", "tuned", "gauss-0.50", 0),
        shop.study.datasets["digits"].info(),
    )
    assert read_header(shop.model("shelf", "gauss-0.50"))[0].parents["weights"]
    with torch.inference_mode():
        assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)
