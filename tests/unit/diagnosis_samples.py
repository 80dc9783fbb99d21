"""Tables of layers, attacks and certificates of made-up models, written where a diagnosis reads them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from report_samples import certificate_table, provenance

from certflow.files.artefact import write_table
from certflow.files.provenance import Provenance
from certflow.knowledge.features import Features
from certflow.knowledge.measure import certificate_table as curves
from certflow.knowledge.measure import volatility_table
from certflow.knowledge.settings import Knowledge
from certflow.report.diagnosis.stage import Tables

WANTED = Knowledge(points=100, deltas=6, losses=["ce", "zero_one"])
NOISE = "gauss-0.25"


def features(seed: int, points: int = 100) -> Features:
    """Two hidden layers and logits that are right for most points."""
    rng = np.random.default_rng(seed)
    labels, logits = rng.integers(0, 4, points), rng.normal(size=(points, 4)).astype(np.float32)
    logits[np.arange(points), labels] += 1.5 + seed / 4
    z = {
        name: (seed + 1) * rng.normal(size=(points, dim)).astype(np.float32)
        for name, dim in (("input", 9), ("1.a", 6), ("1.b", 3))
    }
    return Features({**z, "logits": logits}, logits, labels)


class Samples:
    """Writes the tables of models, and keeps what `Study.diagnosis_spec` says of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.made: dict[tuple, tuple] = {}

    def layers(self, method: str, seed: int, weights: str | None = None) -> tuple[dict[str, Any], str, str]:
        """A model's run, its table of volatility and its certificate; what was written is not written again."""
        if (method, seed, weights) in self.made:
            return self.made[method, seed, weights]
        spec = {"method": {"kind": method}, "seed": seed, "features": WANTED.extracted(), "measured": WANTED.measured()}
        made = Provenance(
            "volatility", spec, {"model": weights or weights_of(method, seed)}, notes={"noisy": True, "points": 100}
        )
        place, found = self.folder / f"{method}{seed}", features(seed)
        write_table(place / "volatility.tsv", volatility_table(found, WANTED), made)
        write_table(place / "certificate.tsv", curves(found, WANTED), replace(made, format="knowledge certificate"))
        run = {"method": method, "noise": NOISE, "seed": seed, "spec": spec}
        self.made[method, seed, weights] = run, str(place / "volatility.tsv"), str(place / "certificate.tsv")
        return self.made[method, seed, weights]

    def attack(self, method: str, seed: int, weights: str | None = None) -> tuple[dict[str, Any], str]:
        """An attack on a model that breaks every other one of 20 images at its larger strength."""
        path, spec = self.folder / f"{method}{seed}" / "fgsm.tsv", {"attack": "fgsm", "seed": seed, "method": method}
        idx = np.tile(np.arange(20), 2)
        eps = np.repeat([0.1, 0.2], 20)
        after = np.where((eps == 0.2) & (idx % 2 == 0), 2, 1)
        whole = {"label": 1, "predict": 1, "attacked_predict": after, "success": 0, "queries": 1}
        table = pd.DataFrame({"idx": idx, **whole, "norm": 0.1, "eps": eps, "seconds": 0.1})
        notes = {"norm": "linf", "smoothed": False}
        write_table(
            path, table, Provenance("attack", spec, {"model": weights or weights_of(method, seed)}, notes=notes)
        )
        return {"method": method, "noise": NOISE, "seed": seed, "attack": "fgsm", "spec": spec}, str(path)

    def certificate(self, method: str, seed: int, mean: float) -> tuple[dict[str, Any], str]:
        """A certificate table of a model; the larger the mean, the better."""
        path, record = self.folder / f"{method}{seed}" / "np.tsv", provenance(0.25)
        made = replace(record, parents={**record.parents, "model": weights_of(method, seed)})
        write_table(path, certificate_table(60, 0.25, mean=mean, seed=seed), made)
        return {"method": method, "noise": NOISE, "certificate": "np", "seed": seed, "spec": made.spec}, str(path)

    def diagnosis(self, *, beside: bool = True) -> tuple[dict[str, Any], Tables]:
        """Two models under an attack, put beside an experiment of these and two more."""
        models = [self.layers("plain", 0), self.layers("regular", 1)]
        attacks = [self.attack("plain", 0), self.attack("regular", 1)]
        names = [("plain", 0), ("regular", 1), ("plain", 2), ("regular", 3)] if beside else []
        compared = [self.layers(*name) for name in names]
        certified = [self.certificate(*name, mean=1.0 + name[1] / 4) for name in names]
        table = {
            "runs": [run for run, _ in certified],
            "radii": [0.1, 0.25, 0.5],
            "sigmas": {NOISE: 0.25},
            "split": "test",
        }
        table["published_as"] = {method: {NOISE: ""} for method in ("plain", "regular")}
        other = {"experiment": "table", "models": [run for run, *_ in compared], "table": table}
        spec = {
            "title": "Layers of <two>",
            "remark": "Look here.",
            "data": {"dataset": "digits", "model": "small", "images": "some"},
            "models": [run for run, *_ in models],
            "attacks": [run for run, _ in attacks],
            "beside": other if beside else None,
            "plot": {},
        }
        tables = Tables(
            volatility=[path for _, path, _ in models],
            certificate=[path for _, _, path in models],
            attacks=[path for _, path in attacks],
            compared=[path for _, path, _ in compared],
            certificates=[path for _, path in certified],
        )
        return spec, tables


def weights_of(method: str, seed: int) -> str:
    """Digest of a made-up model."""
    return f"{method}-{seed}".ljust(64, "0")
