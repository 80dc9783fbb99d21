"""Small instances of every sampler and certificate kind, and a folder in which they are run as the pipeline runs them.

A kind that is registered without an instance here makes `sampler_of` or `certificate_of` fail with a sentence that says so.
The seed is not 0 and not 1: a stage that forgets it, or takes a stream's number for it, gives other numbers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from certflow.certify.stage import certify_radii
from certflow.data.store import content_digest, prepare
from certflow.files.artefact import read_provenance
from certflow.files.provenance import Provenance
from certflow.kinds.registry import kinds, spec_class
from certflow.models import build, save_model
from certflow.sampling.base import SamplerSpec
from certflow.sampling.merge import merge_counts
from certflow.sampling.plan import write_plan
from certflow.sampling.stage import presample_counts, sample_counts

SEED = 7
IMAGES = {"split": "test", "skip": 3, "stride": 2, "max": 9}
DIGITS = spec_class("dataset", "digits")()
MODEL = spec_class("model", "small_conv")()
NOISE = spec_class("noise", "gaussian")(sigma=0.5)
SAMPLERS: dict[str, dict[str, Any]] = {
    "fixed": {"n0": 30, "n": 120},
    "iss": {"n0": 30, "tolerance": 0.2, "n_max": 300, "granularity": 20},
    "planned": {"n0": 30, "budget": 150.0, "n_min": 60, "n_max": 300, "granularity": 20},
    "decide": {"n0": 30, "test": "mixture", "radii": [0.0, 0.3, 0.6], "n_max": 400, "look": 50},
    "pilot": {"first": 150, "misses": 140, "n_max": 300},
    "double": {"n0": 30, "n": 110, "n_q": 90, "q": {"family": "truncated", "rule": "x"}},
    "enumerated": {},
}
CERTIFICATES: dict[str, tuple[str, dict[str, Any]]] = {
    "neyman_pearson": ("fixed", {"bound": "randomized"}),
    "sequential": ("decide", {}),
    "dsrs": ("double", {}),
    "inscribed": ("fixed", {"norm": "linf", "of": {"kind": "neyman_pearson"}}),
    "anytime": ("fixed", {}),
    "dssn": ("enumerated", {}),
}
"""Kind of certificate → the sampler kind whose counts it reads, and its settings."""
DRAWN = [kind for kind in kinds("sampler") if not spec_class("sampler", kind).enumerates]
"""Samplers that draw: from any noise, under seeds and streams. What counts outcomes has tests of its own."""
BY_CHANCE = [kind for kind in kinds("certificate") if CERTIFICATES.get(kind, ("",))[0] != "enumerated"]
"""Certificates that are computed from draws."""


def sampler_of(kind: str, **changes: Any) -> SamplerSpec:
    """The small instance of a sampler kind."""
    assert kind in SAMPLERS, f"sampler kind {kind} has no small instance: add one to SAMPLERS in {__file__}"
    return spec_class("sampler", kind)(**{**SAMPLERS[kind], **changes})


def certificate_of(kind: str, **changes: Any) -> tuple[SamplerSpec, Any]:
    """The small instance of a certificate kind, behind the sampler whose counts it reads."""
    assert kind in CERTIFICATES, f"certificate kind {kind} has no small instance: add one to CERTIFICATES in {__file__}"
    sampler, fields = CERTIFICATES[kind]
    return sampler_of(sampler), spec_class("certificate", kind)(**{"sampler": sampler, **fields, **changes})


@dataclass(frozen=True)
class Home:
    """A folder with a prepared data set and a model with random weights, in which stages are run one by one."""

    folder: Path
    seed: int = SEED
    noise: Any = NOISE

    @property
    def spec(self) -> dict[str, Any]:
        """What `Study.sample_spec` gives."""
        return {
            "dataset": DIGITS.canonical(),
            "model": MODEL.canonical(),
            "method": spec_class("method", "gaussian")().canonical(),
            "noise": self.noise.canonical(),
            "seed": self.seed,
            "engine": 1,
        }

    @property
    def given(self) -> dict[str, Any]:
        """Files and device that the sampling stages take."""
        files = {"manifest": self.folder / "digits.json", "model": self.folder / "model.safetensors"}
        return {**files, "device": "cpu"}

    def prepared(self) -> "Home":
        """The folder with data and model."""
        prepare(DIGITS, self.given["manifest"])
        torch.manual_seed(1)
        trained = {name: value for name, value in self.spec.items() if name != "engine"}
        trained["model"] = MODEL.architecture()
        parents = {"data": content_digest(self.given["manifest"])}
        record = Provenance(format="model", spec=trained, parents=parents)
        save_model(self.given["model"], build(MODEL, DIGITS.info()), record)
        return self

    def presample(self, sampler: SamplerSpec, to: Path) -> Path:
        """Stage 1."""
        spec = {name: value for name, value in self.counts_spec(sampler).items() if name != "sampler"}
        presample_counts(spec, DIGITS, counts=to, **self.given)
        return to

    def counts_spec(self, sampler: SamplerSpec) -> dict[str, Any]:
        """What `Study.counts_spec` gives."""
        return {**self.spec, "images": IMAGES, "presample": sampler.presample(), "sampler": sampler.canonical()}

    def plan(self, sampler: SamplerSpec, presampled: Path, to: Path) -> Path:
        """The plan."""
        write_plan(self.counts_spec(sampler), counts=presampled, plan=to)
        return to

    def sample(self, plan: Path, to: Path, shards: int = 1) -> Path:
        """Stage 2, its shards merged."""
        spec = read_provenance(plan).spec
        parts = [to.with_name(f"{to.stem}.{number}-of-{shards}.npz") for number in range(1, shards + 1)]
        for number, part in enumerate(parts, start=1):
            sample_counts(spec, DIGITS, plan=plan, counts=part, shard=f"{number}-of-{shards}", **self.given)
        merge_counts(spec, shards=parts, plan=plan, counts=to)
        return to

    def counted(self, sampler: SamplerSpec, folder: Path, shards: int = 1) -> tuple[Path, Path]:
        """Plan and merged counts of a sampler, made from the beginning."""
        first = self.presample(sampler, folder / "presample.npz")
        plan = self.plan(sampler, first, folder / "plan.tsv")
        return plan, self.sample(plan, folder / "counts.npz", shards)

    def certify(self, certificate: Any, plan: Path, counts: Path, table: Path, noise: Any = None) -> Path:
        """The certificate table."""
        made_as = {**read_provenance(plan).spec, "noise": (noise or self.noise).canonical()}
        spec = {**made_as, "certificate": certificate.canonical()}
        certify_radii(spec, plan=plan, counts=counts, table=table)
        return table
