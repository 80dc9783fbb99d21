"""A small file of every format in `certflow.files.formats.FORMATS`, and what its reader makes of it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image

from certflow.data.base import DataInfo, DatasetSpec
from certflow.data.corruptions.kinds.computed import Computed
from certflow.data.corruptions.store import Corrupted, prepare_corrupted
from certflow.data.kinds.image_folder import ImageFolder
from certflow.data.splits import ArraySplit
from certflow.data.store import open_split, prepare
from certflow.data.tree import TreeSplit
from certflow.doors.web.asked import AskedCertify, Draws, Picture
from certflow.doors.web.brought import Described, read_card
from certflow.doors.web.jobs import Jobs
from certflow.files.artefact import (
    read_arrays,
    read_arrays_record,
    write_arrays,
    write_pictures,
    write_record,
    write_table,
)
from certflow.files.provenance import Provenance
from certflow.files.tensorfile import read_tensors
from certflow.knowledge.stage import read_features
from certflow.models.checkpoint import save_model
from certflow.models.header import read_header
from certflow.noise import Gaussian
from certflow.report.attacked import read_attacked
from certflow.report.corruptions import read_corruptions
from certflow.report.diagnosis.models import read_models
from certflow.report.drawn import read_figure
from certflow.report.lines import read_line
from certflow.report.preview import read_preview
from certflow.report.training import read_training_log
from certflow.sampling.plan import read_plan
from certflow.sampling.resume import Journal
from certflow.training.checkpoint import Position, load_state, save_state
from certflow.training.fast.sgd import Sgd
from certflow.training.log import LogFile
from certflow.training.predictions import read_predictions

SPEC = {"noise": {"kind": "gaussian", "revision": 1, "sigma": 0.25}, "seed": 3, "radii": [0.25]}
PARENTS = {"model": "a" * 64, "data": "b" * 64}
NOTES = {"precision": "float32", "folded": 2, "images": 6}


@dataclass(frozen=True)
class Sample:
    """How a format's files are made in a folder (a second number: with other content), which may be damaged, and reading
    them: everything that a consumer gets."""

    make: Callable[[Path, int], None]
    files: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]


SAMPLES: dict[str, Sample] = {}
"""Format → sample."""


def sample(name: str, make: Callable[[Path, int], None], *files: str):
    """Register a reader for the format `name`; files: patterns of what may be damaged."""

    def register(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def found(folder: Path) -> list[Path]:
            return sorted(path for pattern in files for path in folder.glob(pattern))

        SAMPLES[name] = Sample(make, found, read)
        return read

    return register


def record(name: str, number: int, **fields: Any) -> Provenance:
    """A record as the pipeline's are."""
    return Provenance(name, {**SPEC, "number": number}, PARENTS, {"torch": "2.0"}, "cpu", NOTES, **fields)


def wanted(folder: Path) -> dict[str, Any]:
    """The specification that a consumer of the folder's files asks for: a whole file that was exchanged has another one."""
    return {**SPEC, "number": number_of(folder)}


def number_of(folder: Path) -> int:
    return int((folder / "number").read_text())


class Tiny(DatasetSpec):
    """A dataset of a few images without files."""

    kind: Literal["tiny"] = "tiny"
    number: int = 0

    def info(self) -> DataInfo:
        return DataInfo(classes=3, shape=(1, 4, 5))

    def splits(self):
        return ("test",)

    def read(self, split, root):
        random = np.random.default_rng(self.number)
        return ArraySplit(random.integers(0, 256, (6, 1, 4, 5), np.uint8), np.arange(6) % 3, "tiny")


@contextlib.contextmanager
def cache_in(folder: Path) -> Iterator[None]:
    """Keep decoded images below `folder` meanwhile."""
    before = os.environ.get("CERTFLOW_CACHE")
    os.environ["CERTFLOW_CACHE"] = str(folder / "cache")
    try:
        yield
    finally:
        os.environ.pop("CERTFLOW_CACHE")
        if before is not None:
            os.environ["CERTFLOW_CACHE"] = before


def make_data(folder: Path, number: int) -> None:
    with cache_in(folder):
        prepare(Tiny(number=number), folder / "tiny.json")


@sample("dataset", make_data, "tiny.json")
@sample("images", make_data, "cache/*/*.npy")
def read_data(folder: Path) -> Any:
    with cache_in(folder):
        split = open_split(Tiny(number=number_of(folder)), folder / "tiny.json", "test")
        return split.labels, split.read(np.arange(len(split))), split.describe(0)


def folders(folder: Path) -> ImageFolder:
    return ImageFolder(classes=2, shape=[1, 4, 5], stream=True, only="test", root=str(folder / "tree"))


def make_tree(folder: Path, number: int) -> None:
    random = np.random.default_rng(number)
    for name in ("a/1", "a/2", "b/3"):
        path = folder / f"tree/test/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (4, 5), np.uint8)).save(path)
    with cache_in(folder):
        prepare(folders(folder), folder / "tree.json")


@sample("files", make_tree, "cache/*/*.npy")
def read_tree(folder: Path) -> Any:
    with cache_in(folder):
        split = open_split(folders(folder), folder / "tree.json", "test")
        assert isinstance(split, TreeSplit)
        return split.labels, split.paths, split.listing, split.read(np.arange(len(split)))


def make_copies(folder: Path, number: int) -> None:
    make_data(folder, number)
    with cache_in(folder):
        clean, copies = folder / "tiny.json", folder / "copies.json"
        prepare_corrupted(
            Computed(severities=[2]), "contrast", Tiny(number=number), clean_manifest=clean, manifest=copies
        )


@sample("corrupted images", make_copies, "copies.json")
def read_copies(folder: Path) -> Any:
    with cache_in(folder):
        corrupted = Corrupted(Computed(severities=[2]), "contrast", folder / "copies.json")
        copies, content = corrupted.open(Tiny(number=number_of(folder)), folder / "tiny.json")
        return copies.clean_images, copies.levels, copies.split.read(np.arange(6)), copies.labels, content


def network(number: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))


def make_model(name: str) -> Callable[[Path, int], None]:
    facts = {"condition": 0.25, "denoiser": {"schedule": {"beta_end": 0.02}}}
    return lambda folder, number: save_model(
        folder / "model.safetensors", network(number), record(name, number, facts=facts)
    )


@sample("model", make_model("model"), "*.safetensors")
@sample("denoiser", make_model("denoiser"), "*.safetensors")
def read_weights(folder: Path) -> Any:
    path = folder / "model.safetensors"
    return read_tensors(path, format=read_header(path)[0].format, spec=wanted(folder)), read_header(path)


def job_id(number: int) -> str:
    """Jobs bear their own name, so that a whole file of another one is noticed."""
    return "a" * 11 + "bcdefgh"[number % 7]


def make_job(folder: Path, number: int) -> None:
    asked = AskedCertify(model="m", draws=Draws(n=100 + number), picture=Picture(index=number))
    images = np.random.default_rng(number).integers(0, 256, (1, 1, 4, 5), np.uint8)
    job = Jobs(folder / "jobs").create(asked, images, job_id(number))
    numbers = {"seconds": np.array(1.5), "best": np.array(0.25)}
    job.write_counts({"first": np.array([9, 1, number]), "counts": np.array([90, 9, 1]), **numbers})
    job.write_found({"row": {"radius": 0.25 + number}})
    job.write_copies(noisy=images[0])


@sample("web job", make_job, "jobs/*/asked.json")
@sample("web pixels", make_job, "jobs/*/pixels.npz")
@sample("live counts", make_job, "jobs/*/counts.npz")
@sample("web findings", make_job, "jobs/*/found.json")
@sample("web pictures", make_job, "jobs/*/copies.npz")
def read_job(folder: Path) -> Any:
    job = Jobs(folder / "jobs").get(job_id(number_of(folder)))
    return job.asked, job.pixels(), job.counts(), job.found, job.copies()


@sample("web state", make_job, "jobs/*/state.json")
def read_job_state(folder: Path) -> Any:
    """A job whose state cannot be read has failed, and says why."""
    status = Jobs(folder / "jobs").get(job_id(number_of(folder))).status
    return None if status.state == "failed" and "cannot be read" in status.message else status.state


def make_brought(folder: Path, number: int) -> None:
    place = folder / "models" / job_id(number)
    place.mkdir(parents=True)
    (place / "weights.pth").write_bytes(b"weights")
    described = Described("a", "small_conv", Gaussian(sigma=0.25), shape=(1, 8, 8), classes=10 + number)
    notes = {"doctor": {}, "warnings": [], "file": "weights.pth", "made": 1.0}
    spec = {"folder": place.name, **described.plain()}
    write_record(place / "card.json", Provenance(format="web model", spec=spec, notes=notes))


@sample("web model", make_brought, "models/*/card.json")
def read_brought(folder: Path) -> Any:
    return read_card(folder / "models" / job_id(number_of(folder)) / "card.json").classes


def optimiser_of(model: torch.nn.Module) -> Sgd:
    return Sgd(model.named_parameters(), momentum=0.9)


def make_state(folder: Path, number: int) -> None:
    model = network(number)
    optimiser = optimiser_of(model)
    model(torch.ones(5, 3)).square().sum().backward()
    optimiser.step(0.1)
    position = Position(epoch=1, batch=number, rows=[{"epoch": 0, "lr": 0.1}], sums={"images": 7, "loss": 0.5})
    save_state(folder / "resume.pt", f"run {number}", model, optimiser, position)


@sample("training state", make_state, "resume.pt")
def read_state(folder: Path) -> Any:
    """None where the state is left aside: training then starts from the beginning."""
    model = network()
    optimiser = optimiser_of(model)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        position = load_state(folder / "resume.pt", f"run {number_of(folder)}", model, optimiser)
    return None if position is None else (position, model.state_dict(), optimiser.state())


def make_log(folder: Path, number: int) -> None:
    rows = [
        {"epoch": epoch, "seconds": 1.5, "lr": 0.1, "train_loss": 2.0 / (1 + epoch), "test_loss": 2.1}
        | {"test_accuracy": 0.75 + number / 8, "images_per_second": 900.0}
        for epoch in range(3)
    ]
    LogFile(folder / "m/n/s/training.tsv", record("training log", number)).write(rows)


@sample("training log", make_log, "m/n/s/training.*")
def read_log(folder: Path) -> Any:
    return read_training_log(folder / "m/n/s/training.tsv", wanted(folder))


def counts_of(number: int, **more: np.ndarray) -> dict[str, np.ndarray]:
    hits = np.random.default_rng(number).multinomial(20, [0.7, 0.2, 0.1], 6)
    return {"idx": np.arange(6), "label": np.arange(6) % 3, "counts": hits, "seconds": np.linspace(0, 1, 6), **more}


def make_arrays(name: str) -> Callable[[Path, int], None]:
    def make(folder: Path, number: int) -> None:
        more = {} if name == "presample" else {"drawn": np.full(6, 20), "decided": np.linspace(0, 1, 6)}
        write_arrays(folder / "arrays.npz", counts_of(number, **more), record(name, number))

    return make


@sample("presample", make_arrays("presample"), "*.npz")
@sample("shard", make_arrays("shard"), "*.npz")
@sample("counts", make_arrays("counts"), "*.npz")
@sample("predictions shard", make_arrays("predictions shard"), "*.npz")
def read_counts(folder: Path) -> Any:
    path = folder / "arrays.npz"
    record = read_arrays_record(path)
    return read_arrays(path, format=record.format, spec=wanted(folder)), record


def votes(number: int) -> dict[str, Any]:
    return {"predictions": {"n": 20}, "noise": SPEC["noise"], "seed": number}


def make_predictions(folder: Path, number: int) -> None:
    made = Provenance("predictions", votes(number), PARENTS, notes=NOTES)
    write_arrays(folder / "predictions.npz", {"counts": counts_of(number)["counts"].astype(np.uint16)}, made)


@sample("predictions", make_predictions, "*.npz")
def read_votes(folder: Path) -> Any:
    spec = votes(number_of(folder))
    return read_predictions(folder / "predictions.npz", spec, data=PARENTS["data"], images=6, classes=3)


def make_journal(folder: Path, number: int) -> None:
    arrays = counts_of(number)
    Journal(folder / "x.partial", f"job {number}", noted=False).write(
        {"rows": np.array(2), "counts": arrays["counts"], "seconds": arrays["seconds"]}
    )


@sample("partial counts", make_journal, "x.partial")
def read_journal(folder: Path) -> Any:
    return Journal(folder / "x.partial", f"job {number_of(folder)}", noted=False).load(6, 3)


def make_plan(folder: Path, number: int) -> None:
    columns = {name: np.arange(6) for name in ("idx", "label", "selected", "k0", "k0_other", "n0")}
    table = pd.DataFrame({**columns, "n": 100 + number, "seconds0": np.linspace(0, 1, 6)})
    write_table(folder / "plan.tsv", table, record("plan", number))


@sample("plan", make_plan, "plan.*")
def read_plan_of(folder: Path) -> Any:
    return read_plan(folder / "plan.tsv", wanted(folder))


def make_certificate(folder: Path, number: int) -> None:
    radius = np.array([0.0, 0.25, 1 / 3, 0.5, 0.0, 0.75]) + number
    table = pd.DataFrame({"idx": np.arange(6), "label": 1, "predict": 1, "radius": radius, "correct": 1})
    table = table.assign(time="0:00:01.000000", n0=10, n=100, p_lower=0.5 + radius / 4)
    made = record("certificate", number)
    claim = {"norm": "l2", "alpha": 0.001, "domain": "real", "of": "image"}
    write_table(folder / "np.tsv", table, replace(made, notes={**made.notes, "claim": claim}))


@sample("certificate", make_certificate, "np.*")
def read_certificate(folder: Path) -> Any:
    return read_line("gaussian", "gauss-0.25", 0.25, "np", {0: folder / "np.tsv"})


def make_attack(folder: Path, number: int) -> None:
    whole = {"label": 1, "predict": 1, "attacked_predict": [1, 2, 1, 1, 2, number], "success": 0, "queries": 5}
    table = pd.DataFrame({"idx": np.arange(6), **whole, "norm": np.linspace(0, 1, 6), "eps": 0.25, "seconds": 0.5})
    notes = {**NOTES, "norm": "l2", "smoothed": True}
    write_table(folder / "pgd.tsv", table, replace(record("attack", number), notes=notes))


@sample("attack", make_attack, "pgd.*")
def read_attack(folder: Path) -> Any:
    run = {"method": "gaussian", "noise": "gauss-0.25", "attack": "pgd", "spec": wanted(folder)}
    return read_attacked([run], [str(folder / "pgd.tsv")])


def make_features(folder: Path, number: int) -> None:
    random = np.random.default_rng(number)
    z = {f"layer {name}": random.normal(size=(6, 4)).astype(np.float32) for name in ("input", "1.conv")}
    arrays = {"idx": np.arange(6), "label": np.arange(6) % 3, "logits": random.normal(size=(6, 3)).astype(np.float32)}
    write_arrays(folder / "features.npz", {**arrays, **z}, record("features", number))


@sample("features", make_features, "*.npz")
def read_features_of(folder: Path) -> Any:
    found, made = read_features(folder / "features.npz", wanted(folder))
    return found.z, found.logits, found.labels, made


def make_layers(folder: Path, number: int) -> None:
    made = replace(record("volatility", number), notes={**NOTES, "noisy": False})
    whole = {"dim": 4, "points": 62}
    numbers = dict.fromkeys(("depth", "volatility", "standard_error", "relative", "relative_error", "ball_score"), 0.25)
    table = pd.DataFrame({"layer": ["input", "logits"], "loss": "ce", **whole, **numbers, "accuracy": 0.5 + number / 8})
    write_table(folder / "volatility.tsv", table.assign(remarks=""), made)
    bounds = dict.fromkeys(("delta", "delta_over_mean", "eta", "alpha", "joint_bound", "conditional_bound"), 0.5)
    names = {"layer": ["input", "logits"], "bound": "hoeffding", "claim": "distributional", "sound": True}
    curve = pd.DataFrame({**names, **bounds, "direct_upper": 0.25 * (1 + number), "points": 50, "pairs": 25})
    write_table(folder / "certificate.tsv", curve, replace(made, format="knowledge certificate"))


@sample("volatility", make_layers, "volatility.*")
@sample("knowledge certificate", make_layers, "certificate.*")
def read_layers(folder: Path) -> Any:
    run = {"method": "gaussian", "noise": "gauss-0.25", "seed": 0, "spec": wanted(folder)}
    (model,) = read_models([run], [str(folder / "volatility.tsv")], [str(folder / "certificate.tsv")])
    return model.volatility, model.certificate, model.record


def make_corruptions(folder: Path, number: int) -> None:
    names = {"method": "gaussian", "noise": "gauss-0.25", "certificate": "np", "norm": "l2", "entry": "c"}
    table = pd.DataFrame({**names, "corruption": ["fog", "snow"], "severity": 0, "severities": "1 2", "sigma": 0.25})
    table = table.assign(n_images=12, acr=[0.5, 0.25 + number], preset_radii="", judged="", published_source="")
    table = table.assign(tables="x.tsv", digests="e", noise_kind="gaussian", comparison="")
    write_table(folder / "c.tsv", table, record("corruptions table", number))


@sample("corruptions table", make_corruptions, "c.*")
def read_corruptions_of(folder: Path) -> Any:
    return read_corruptions(folder / "c.tsv", wanted(folder))


def make_estimate(folder: Path, number: int) -> None:
    names = {"method": "gaussian", "noise": "gauss-0.25", "norm": "l2", "images": "test 0:12 (12 images)"}
    table = pd.DataFrame(
        {
            **names,
            "seeds": "0",
            "counts": "c.npz",
            "digests": "e",
            "n_images": 12,
            "n": 1000,
            "sigma": 0.25,
            "alpha": 0.001,
            "draws": [150.0, number],
        }
    )
    write_table(folder / "e.tsv", table, record("estimate", number))


@sample("estimate", make_estimate, "e.*")
def read_estimate_of(folder: Path) -> Any:
    return read_preview(folder / "e.tsv", wanted(folder))


def make_figure(folder: Path, number: int) -> None:
    contents = [b'<svg width="72pt"><path d="M0 0 L%d 1"/></svg>' % number, b"%PDF-1.4 a figure"]
    write_pictures([folder / "p_a.svg", folder / "p_a.pdf"], contents, record("figure", number))


@sample("figure", make_figure, "p_a.svg", "p_a.json")
def read_figure_of(folder: Path) -> Any:
    return read_figure(folder / "p_a.svg", wanted(folder))
