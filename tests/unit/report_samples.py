"""Certificate tables for the report's tests: counts of a classifier with p_A from a stated law, certified for real."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.report.lines import Line, SeedTable
from certflow.report.published import COLUMNS
from certflow.stats import clopper_pearson_lower


def certificate_table(
    images: int, sigma: float, *, mean: float = 1.2, spread: float = 1.4, n: int = 1000, seed: int = 0, stride: int = 1
) -> pd.DataFrame:
    """A table of `images` rows whose margins (probits of p_A) are normal with that mean and spread; 8 % are wrong."""
    random = np.random.default_rng(seed)
    k = random.binomial(n, ndtr(random.normal(mean, spread, images)))
    p_lower = clopper_pearson_lower(k, n, 0.001)
    radius = np.where(p_lower > 0.5, sigma * ndtri(np.maximum(p_lower, 0.5)), 0.0)
    label = np.arange(images) % 10
    selected = np.where(random.random(images) < 0.92, label, (label + 1) % 10)
    predict = np.where(radius > 0, selected, -1)
    seconds = random.gamma(20.0, 0.01, images)
    return pd.DataFrame(
        {
            "idx": stride * np.arange(images),
            "label": label,
            "predict": predict,
            "radius": radius,
            "correct": (predict == label).astype(np.int64),
            "time": [f"0:00:{s:09.6f}" for s in seconds],
            "n0": 100,
            "n": n,
            "k": k,
            "p_lower": p_lower,
            "p_upper": 1.0,
            "saturated": k == n,
            "reason": np.where(radius > 0, "", "low_pA"),
            "selected": selected,
            "k0": 90,
            "seconds": seconds,
        }
    )


def provenance(
    sigma: float, *, alpha: float = 0.001, norm: str = "l2", domain: str = "real", noise: str = "gaussian", **notes
) -> Provenance:
    """What a real certificate table's record says."""
    spec = {
        "noise": spec_class("noise", noise).small(sigma=sigma).canonical(),
        "certificate": {"revision": 1, "kind": "neyman_pearson", "sampler": "cohen", "alpha": alpha},
    }
    claim = {"norm": norm, "alpha": alpha, "domain": domain}
    parents = {"counts": "c" * 64, "plan": "d" * 64}
    return Provenance("certificate", spec, parents=parents, notes={"claim": claim, **notes})


def line(
    method: str = "gaussian", sigma: float = 0.25, certificate: str = "np", *, seeds: int = 1, images: int = 200, **law
) -> Line:
    """A line of ours with one table per seed, as if read from `results/`."""
    first = law.pop("seed", 0)
    published_as = law.pop("published_as", method)
    entries = tuple(
        SeedTable(
            seed,
            certificate_table(images, sigma, seed=first + seed, **law),
            Path(f"results/certificates/digits/{method}/{sigma}/seed{seed}/{certificate}.tsv"),
            provenance(sigma),
        )
        for seed in range(seeds)
    )
    return Line(method, f"gauss-{sigma:g}", sigma, certificate, entries, published_as=published_as)


def linf(plain: Line) -> Line:
    """The same line with radii in the l-infinity norm."""
    return in_norm(plain, "linf")


def in_norm(plain: Line, norm: str) -> Line:
    """The same line with radii in another norm."""
    notes = [{**e.provenance.notes, "claim": {**e.provenance.notes["claim"], "norm": norm}} for e in plain.seeds]
    seeds = (replace(e, provenance=replace(e.provenance, notes=n)) for e, n in zip(plain.seeds, notes, strict=True))
    return replace(plain, seeds=tuple(seeds))


def under(plain: Line, kind: str) -> Line:
    """The same line under noise of another kind."""
    law = spec_class("noise", kind).small(sigma=plain.sigma).canonical()
    specs = [{**e.provenance.spec, "noise": law} for e in plain.seeds]
    seeds = (replace(e, provenance=replace(e.provenance, spec=s)) for e, s in zip(plain.seeds, specs, strict=True))
    return replace(plain, noise=f"{kind}-{plain.sigma:g}", seeds=tuple(seeds))


def external_line(method: str = "elsewhere", sigma: float = 0.25, *, images: int = 200, **law) -> Line:
    """A line made elsewhere: the field's six columns and the seconds that reading them gives."""
    table = certificate_table(images, sigma, **law)
    table = table[["idx", "label", "predict", "radius", "correct", "time", "seconds"]]
    return Line(method, f"gauss-{sigma:g}", sigma, "", (SeedTable(0, table, Path("theirs.tsv"), norm="l2"),))


def published_rows(dataset: str, arch: str, method: str, noise: str, norm: str, sigma: float) -> pd.DataFrame:
    """Published numbers in the format of the shipped ones, made up: two sources for `gaussian` under Gaussian noise at 0.25 in
    l2, none else."""
    columns = [*COLUMNS]
    if (method, noise, norm, sigma) != ("gaussian", "gaussian", "l2", 0.25):
        return pd.DataFrame(columns=columns)
    rows = []
    sources = (("ours/large", "0:10000", 10000, 0.0), ("printed/small (printed README table)", "0:2000:10", 200, 0.01))
    for source, images, n_images, shift in sources:
        cells = [("acr", np.nan, 0.424), ("clean_accuracy", 0.0, 0.7665), ("abstention_rate", np.nan, 0.0795)]
        cells += [("certified_accuracy", r, v) for r, v in ((0.0, 0.7665), (0.25, 0.608), (0.5, 0.421), (0.75, 0.25))]
        cells += [("certify_seconds_per_image", np.nan, 15.0)]
        key = (source, dataset, arch, method, noise, norm, sigma, images, n_images, "neyman_pearson", 100_000, 0.001, 3)
        rows += [(*key, metric, r, v + shift) for metric, r, v in cells]
    return pd.DataFrame(rows, columns=columns)


def drawn_by(plain: Line, sampler) -> Line:
    """A line as that sampler draws for it, on digits; certified by what is made for the sampler."""
    facts = {"sampler": sampler.canonical(), "dataset": spec_class("dataset", "digits").small().canonical()}
    if sampler.decides:
        facts["certificate"] = spec_class("certificate", "sequential")(
            sampler="decide", alpha=sampler.alpha
        ).canonical()
    seeds = (replace(one, provenance=replace(one.provenance, spec=one.provenance.spec | facts)) for one in plain.seeds)
    return replace(plain, seeds=tuple(seeds))
