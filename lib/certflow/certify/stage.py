"""Certification as a stage of the pipeline: from a plan and merged counts to one table."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from certflow.certify.base import drawn_from, pairing_problems
from certflow.certify.counts import CountsError, same_images
from certflow.certify.table import certificate_table
from certflow.errors import ArtefactError
from certflow.files.artefact import Provenance, read_arrays, write_table
from certflow.kinds.registry import revive
from certflow.kinds.spec import without
from certflow.sampling.plan import read_plan


def certify_radii(spec: Mapping[str, Any], *, plan: str | Path, counts: str | Path, table: str | Path) -> None:
    """Write the certificate table that `spec` (`Study.certificate_spec`) asks for.

    Plan and counts must be of that spec, the counts made from this very plan, and the sampler one that the certificate holds
    for; else an `ArtefactError` says what differs.
    """
    made_as = without(spec, "certificate")
    chosen = read_plan(plan, made_as)
    rows, planned, sampler = chosen.rows, chosen.record, chosen.sampler
    arrays, counted = read_arrays(counts, format="counts", spec=made_as)
    chosen.require(counts, counted)
    try:
        same_images(rows, arrays["idx"])
    except CountsError as error:
        raise ArtefactError(f"{counts}: {error}; delete it and merge the shards again") from error
    noise = revive("noise", spec["noise"])
    certificate = revive("certificate", spec["certificate"])
    problems = pairing_problems(certificate, noise, sampler)
    if problems:
        raise ArtefactError(
            f"{plan}: is not a valid plan for this certificate ({'; '.join(problems)}); give its own sampler's plan"
        )
    dim = revive("dataset", spec["dataset"]).info().dim
    drawn = drawn_from(rows, arrays, noise, dim, spec["seed"], sampler.arithmetic)
    result = certificate_table(drawn, certificate, arrays["seconds"], source=str(counts))
    claim = certificate.claim(drawn)
    record = Provenance(
        format="certificate",
        spec=spec,
        parents={"plan": planned.digest, "counts": counted.digest, **counted.parents},
        device=counted.device,
        notes={**counted.notes, "claim": asdict(claim)} | ({"noise_distance": drawn.slack} if drawn.slack else {}),
    )
    write_table(table, result, record)
