"""Denoisers as stages: trained by themselves, put before a classifier, stored, sampled, and refused where they do not fit."""

import copy
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml
from training_examples import weights

from certflow.config import load
from certflow.config.records import CountsRun
from certflow.data.store import prepare
from certflow.denoising.stored import DENOISER, load_denoised
from certflow.errors import ArtefactError, ConfigError
from certflow.files.artefact import read_arrays, read_provenance
from certflow.files.provenance import Provenance
from certflow.files.tensorfile import read_tensors, write_tensors
from certflow.models.checkpoint import load_model
from certflow.sampling.stage import presample_counts
from certflow.training.assembly import Files
from certflow.training.composing import load_trained, off_the_shelf
from certflow.training.denoisers.stage import train_denoiser
from certflow.training.stage import Outputs, make_model

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"epochs": 1, "batch": 256, "schedule": "one_cycle"}
CLEAN = {"method": "clean", "noise": "clean"}
ENTRIES = {
    "denoisers": {
        "blind": {"kind": "dncnn", "depth": 3, "width": 4},
        "ranged": {
            "kind": "drunet",
            "widths": [4, 4, 4, 4],
            "blocks": 1,
            "train": {**QUICK, "sigma_range": [0.0, 0.6], "batch": 512},
        },
    },
    "methods": {
        "clean": {"kind": "gaussian", **QUICK},
        "bare": {"kind": "denoised", "denoiser": None, "classifier": CLEAN},
        "mse": {"kind": "denoised", "denoiser": "blind", "classifier": CLEAN, "objective": "mse", **QUICK},
        "steady": {
            "kind": "denoised",
            "denoiser": "blind",
            "classifier": CLEAN,
            "objective": "stability",
            "init_from": "mse",
            "access": "query",
            "surrogates": [{**CLEAN, "seed": 1}],
            **QUICK,
        },
        "ranged": {"kind": "denoised", "denoiser": "ranged", "classifier": CLEAN},
    },
    "experiments": {
        "denoised": {
            "dataset": "digits",
            "model": "small",
            "images": "digits-half",
            "noises": ["gauss-0.25", "gauss-0.50"],
            "methods": ["bare", "mse", "steady", "ranged"],
            "certificates": ["np-10k"],
            "radii": [0.25],
        }
    },
}


def configured() -> dict:
    """The project's configuration with small denoised methods, free to be changed."""
    own = yaml.safe_load((ROOT / "config.yaml").read_text())
    return {
        key: {**own[key], **copy.deepcopy(ENTRIES.get(key, {}))} if isinstance(own[key], dict) else own[key]
        for key in own
    }


@pytest.fixture
def raw():
    return configured()


class Workshop:
    """Makes the models of a configuration in a folder, as the workflow would; of one model entry, unless parts name another."""

    model_name = "small"

    def __init__(self, study, folder: Path):
        self.study, self.folder = study, folder
        prepare(study.datasets["digits"], folder / "digits.json")
        self.paths: dict = {}

    def model(self, method: str, noise: str, seed: int = 0, model: str | None = None) -> Path:
        key = (model or self.model_name, method, noise, seed)
        if key not in self.paths:
            self.paths[key] = self.folder / "-".join(map(str, key)) / "model.safetensors"
            self.paths[key].parent.mkdir()
            self._make(*key)
        return self.paths[key]

    def _make(self, model: str, method: str, noise: str, seed: int) -> None:
        names, study = ("digits", model, method, noise, seed), self.study
        path = self.paths[model, method, noise, seed]
        recipe, data = study.method(method, "digits", noise), study.datasets["digits"]
        name = recipe.own_denoiser()
        denoiser = study.denoisers[name] if name else None
        parts = study.references(*names).items()
        files = Files(
            parts={role: self.model(of.method, of.noise, of.seed, of.model) for role, of in parts},
            denoiser=denoiser,
            trained=self.denoiser(name) if denoiser is not None and denoiser.train is not None else None,
        )
        make_model(
            study.model_spec(*names),
            data,
            recipe,
            manifest=self.folder / "digits.json",
            outputs=Outputs(path, path.with_name("training.tsv") if method in study.trained() else None),
            device="cpu",
            files=files,
        )

    def denoiser(self, name: str) -> Path:
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            train_denoiser(
                self.study.denoiser_spec("digits", name, 0),
                self.study.datasets["digits"],
                manifest=self.folder / "digits.json",
                model=path,
                log=self.folder / f"{name}.tsv",
                device="cpu",
            )
        return path

    def load(self, method: str, noise: str, seed: int = 0):
        spec = self.study.model_spec("digits", "small", method, noise, seed)
        info = self.study.datasets["digits"].info()
        return load_denoised(self.model(method, noise, seed), spec, info, spec=spec)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return Workshop(load(configured()), tmp_path_factory.mktemp("denoised"))


def test_the_classifier_in_the_file_is_the_one_that_was_trained(shop):
    network, record = shop.load("mse", "gauss-0.50")
    state, _ = read_tensors(shop.model("clean", "clean"))
    assert {key: value.tobytes() for key, value in numpy(state).items()} == weights(network.classifier)
    assert {"data", "classifier"} == set(record.parents)
    assert record.notes["quality"]["images"] == 445
    log = read_provenance(shop.model("mse", "gauss-0.50").with_name("training.tsv"))
    assert (log.format, log.spec, log.parents) == ("training log", record.spec, record.parents)


@pytest.mark.parametrize(("method", "noise"), [("mse", "gauss-0.50"), ("ranged", "gauss-0.25")])
def test_a_training_that_needed_one_attempt_leaves_no_list_of_them(shop, method, noise):
    folder = shop.model(method, noise).parent
    assert not list(folder.glob("*.attempts")) and not list(folder.parent.glob("resume.pt*"))


def numpy(state):
    return {key: value.contiguous().numpy() for key, value in state.items()}


def test_stability_goes_on_from_the_mse_denoiser(shop):
    start, (network, record) = shop.load("mse", "gauss-0.50")[0], shop.load("steady", "gauss-0.50")
    assert {"data", "classifier", "init", "surrogate00"} == set(record.parents)
    moved = [
        float((a - b).detach().abs().max())
        for a, b in zip(network.denoiser.parameters(), start.denoiser.parameters(), strict=True)
    ]
    # Six steps of Adam at a rate of at most 1e-3 move no weight by more than about 6e-3.
    assert 0 < max(moved) < 0.02


def test_a_denoiser_trained_over_a_range_serves_every_level(shop):
    low, high = (shop.load("ranged", noise) for noise in ("gauss-0.25", "gauss-0.50"))
    assert weights(low[0].denoiser) == weights(high[0].denoiser)
    assert (low[0].denoiser.condition, high[0].denoiser.condition) == (0.25, 0.5)
    assert low[1].facts["condition"] == 0.25
    x = torch.rand(2, 1, 8, 8)
    with torch.inference_mode():
        assert not torch.equal(low[0].denoiser(x), high[0].denoiser(x))


def test_another_use_of_a_denoiser_is_no_other_training(raw, tmp_path):
    raw["denoisers"]["steps"] = {"kind": "diffusion", "widths": [8, 16], "head_dim": 8, "groups": 4, "train": QUICK}
    raw["methods"]["ranged"]["denoiser"] = "steps"
    names, path, found = ("digits", "small", "ranged", "gauss-0.50", 0), tmp_path / "denoiser.safetensors", []
    for change in ({}, {"mode": "paper"}, {"t_rule": "ceil"}, {"prediction": "v_prediction"}):
        study = load(raw | {"denoisers": {**raw["denoisers"], "steps": {**raw["denoisers"]["steps"], **change}}})
        entry, info, spec = study.denoisers["steps"], study.datasets["digits"].info(), study.model_spec(*names)
        found.append((study.denoiser_spec("digits", "steps", 0), spec))
        if not change:
            record = Provenance(format=DENOISER, spec=found[0][0])
            write_tensors(path, entry.build(info, None).network.state_dict(), record)
        with pytest.raises(ArtefactError, match="prediction") if "prediction" in change else nullcontext():
            loaded = load_trained(path, spec, entry, info, 0.5)
            assert (loaded.mode, loaded.t_rule) == (entry.mode, entry.t_rule)
    trainings, models = zip(*found, strict=True)
    assert trainings[0] == trainings[1] == trainings[2] != trainings[3]
    assert all(models.count(spec) == 1 for spec in models)


def test_a_model_told_another_level_is_refused(shop):
    spec = shop.study.model_spec("digits", "small", "ranged", "gauss-0.50", 0)
    info = shop.study.datasets["digits"].info()
    with pytest.raises(ArtefactError, match="made for the noise level 0.25, not 0.5"):
        load_denoised(shop.model("ranged", "gauss-0.25"), spec, info)
    with pytest.raises(ArtefactError, match="noise.sigma: file has 0.25, asked for 0.5"):
        load_denoised(shop.model("ranged", "gauss-0.25"), spec, info, spec=spec)


def test_a_classifier_of_another_recipe_is_refused(shop, tmp_path):
    names = ("digits", "small", "mse", "gauss-0.50", 0)
    spec = shop.study.model_spec(*names)
    with pytest.raises(ArtefactError, match="was made from another spec .*seed"):
        make_model(
            spec,
            shop.study.datasets["digits"],
            shop.study.method("mse", "digits", "gauss-0.50"),
            manifest=shop.folder / "digits.json",
            outputs=Outputs(tmp_path / "model.safetensors"),
            device="cpu",
            files=Files(parts={"classifier": shop.model("clean", "clean", 1)}, denoiser=shop.study.denoisers["blind"]),
        )


@pytest.mark.parametrize("side", [7, 16])
def test_a_classifier_of_another_model_entry_stays_the_function_it_was(raw, tmp_path, side):
    """It sees images of another size than the run's model would. With 7 pixels the weights fit that one, too."""
    raw["models"]["other"] = {**raw["models"]["small"], "resize": side}
    raw["methods"]["bare"]["classifier"] = {**CLEAN, "model": "other"}
    raw["experiments"]["denoised"] |= {"methods": ["bare"], "noises": ["gauss-0.50"]}
    shop = Workshop(load(raw), tmp_path)
    info, spec = shop.study.datasets["digits"].info(), shop.study.model_spec("digits", "small", "bare", "gauss-0.50", 0)
    alone, _ = load_model(shop.model("clean", "clean", model="other"), shop.study.models["other"], info)
    behind, _ = load_denoised(shop.model("bare", "gauss-0.50"), spec, info, spec=spec)
    x = torch.rand(4, 1, 8, 8)
    with torch.inference_mode():
        assert torch.equal(behind(x), alone(x))


@pytest.mark.parametrize("method", ["bare", "steady", "ranged"])
def test_denoised_models_are_sampled_as_any_other(shop, tmp_path, method):
    spec = shop.study.presample_spec(CountsRun("digits", "small", method, "gauss-0.50", 0, "digits-half", "n10000"))
    spec = {**spec, "images": {**spec["images"], "max": 5}, "presample": {"n0": 12, "arithmetic": "float"}}
    presample_counts(
        spec,
        shop.study.datasets["digits"],
        manifest=shop.folder / "digits.json",
        model=shop.model(method, "gauss-0.50"),
        counts=tmp_path / "counts.npz",
        device="cpu",
    )
    counts, _ = read_arrays(tmp_path / "counts.npz", format="presample")
    assert counts["counts"].sum(axis=1).tolist() == [12] * 5


def test_parts_are_in_the_spec_of_what_is_made_from_them(raw):
    study = load(raw)
    names = ("digits", "small", "steady", "gauss-0.50", 0)
    before = study.model_spec(*names)
    assert set(before["parts"]) == {"classifier", "init", "surrogate00", "denoiser"}
    raw["methods"]["clean"]["lr"] = 0.07
    after = load(raw)
    assert after.model_spec(*names) != before
    plain = ("digits", "small", "gaussian-quick", "gauss-0.50", 0)
    assert after.model_spec(*plain) == study.model_spec(*plain) and "parts" not in study.model_spec(*plain)


GONE = object()
"""Of a setting that is taken out."""
UNTRAINED = {"objective": None, "epochs": GONE, "batch": GONE, "schedule": GONE}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"methods": {"mse": {"denoiser": "nosuch"}}}, "denoiser: no entry 'nosuch' in denoisers; known: .*blind"),
        ({"methods": {"mse": UNTRAINED}}, "blind comes without weights"),
        (
            {"methods": {"mse": {"classifier": None}}},
            "classifier: is null, and model small brings no pretrained weights",
        ),
        (
            {"methods": {"mse": {"classifier": {"method": "x", "noise": "clean"}}}},
            "classifier: no entry 'x' in methods",
        ),
        (
            {"methods": {"mse": {"classifier": {"method": "bare", "noise": "clean"}}}},
            "bare is itself a denoised method",
        ),
        ({"methods": {"mse": {"init_from": "steady"}}}, r"it is made from itself \(mse -> steady -> mse\)"),
        ({"methods": {"steady": {"init_from": "clean"}}}, "'clean' is not a method of kind denoised"),
        ({"methods": {"steady": {"init_from": "ranged"}}}, "ranged does not train the denoiser blind"),
        (
            {"denoisers": {"ranged": {"train": {"sigma_range": [0.0, 0.3]}}}},
            "was trained for noise levels 0 to 0.3, not 0.5; train it for that level",
        ),
        ({"denoisers": {"ranged": {"weights": "x.pth"}}}, "either `weights` or `train`"),
        (
            {"denoisers": {"blind": {"weights": "x.pth"}}, "methods": {"mse": UNTRAINED}},
            "say which noise levels",
        ),
        ({"experiments": {"denoised": {"noises": ["clean"]}}}, "denoiser needs a noise level above 0"),
        ({"experiments": {"denoised": {"noises": ["clean"]}}}, "np-10k at clean"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(raw, change, message):
    for section, entries in change.items():
        for name, fields in entries.items():
            kept = {key: value for key, value in raw[section][name].items() if fields.get(key) is not GONE}
            raw[section][name] = kept | {key: value for key, value in fields.items() if value is not GONE}
    with pytest.raises(ConfigError, match=message):
        load(raw)


def test_extrapolation_must_be_asked_for(raw):
    raw["denoisers"]["ranged"]["train"]["sigma_range"] = [0.0, 0.46]
    load(raw)  # 0.5 is less than 10 % above
    raw["denoisers"]["ranged"]["train"]["sigma_range"] = [0.0, 0.4]
    with pytest.raises(ConfigError, match="allow_sigma_extrapolation"):
        load(raw)
    raw["denoisers"]["ranged"]["allow_sigma_extrapolation"] = True
    load(raw)


def pretrained(classes: int, monkeypatch) -> dict:
    """A model entry that claims to bring weights, without fetching any."""
    from certflow.models.networks import timm as networks

    create = networks.create

    def fake(name, info, *, pretrained, settings=None):
        network = create(name, info, pretrained=False)
        network.pretrained_cfg = {**network.pretrained_cfg, "num_classes": classes, "mean": (0.1,), "std": (0.2,)}
        return network

    monkeypatch.setattr(networks, "create", fake)
    return {"kind": "timm", "name": "test_vit", "pretrained": True}


@pytest.mark.parametrize("norm, expected", [("auto", (0.1, 0.2)), ("half", (0.5, 0.5))])
def test_a_classifier_off_the_shelf_normalises_as_it_was_pretrained(raw, shop, tmp_path, monkeypatch, norm, expected):
    raw["models"]["shelf"] = pretrained(10, monkeypatch)
    raw["methods"]["shelf"] = {
        "kind": "denoised",
        "denoiser": "ranged",
        "resize": 32,
        "input_norm": norm,
        "clamp": True,
    }
    raw["experiments"]["denoised"] |= {"model": "shelf", "methods": ["shelf"]}
    study = load(raw)
    spec = study.model_spec("digits", "shelf", "shelf", "gauss-0.50", 0)
    make_model(
        spec,
        study.datasets["digits"],
        study.method("shelf", "digits", "gauss-0.50"),
        manifest=shop.folder / "digits.json",
        outputs=Outputs(tmp_path / "model.safetensors"),
        device="cpu",
        files=Files(denoiser=study.denoisers["ranged"], trained=shop.denoiser("ranged")),
    )
    network, _ = load_denoised(tmp_path / "model.safetensors", spec, study.datasets["digits"].info(), spec=spec)
    layer = network.classifier[0]
    assert (layer.mean.item(), layer.sd.item()) == pytest.approx(expected)
    with torch.inference_mode():
        assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_a_head_for_other_classes_is_refused(raw, monkeypatch):
    raw["models"]["shelf"] = pretrained(1000, monkeypatch)
    raw["methods"]["shelf"] = {"kind": "denoised", "denoiser": "ranged", "resize": 32}
    study = load(raw)
    with pytest.raises(ArtefactError, match="test_vit: was pretrained for 1000 classes, the data have 10"):
        off_the_shelf(study.model_spec("digits", "shelf", "shelf", "gauss-0.50", 0), study.datasets["digits"].info())
