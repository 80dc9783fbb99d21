"""Certification as a stage of the pipeline: from a plan and merged counts to one table."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from certflow.certify.base import drawn_from, pairing_problems
from certflow.certify.counts import CountsError, same_images
from certflow.certify.table import certificate_table
from certflow.errors import ArtefactError
from certflow.files.artefact import read_arrays, write_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import revive
from certflow.kinds.spec import without
from certflow.sampling.plan import Plan, read_plan


def certify_radii(spec: Mapping[str, Any], *, plan: str | Path, counts: str | Path, table: str | Path) -> None:
    """Write the certificate table that `spec` (`Study.certificate_spec`) asks for.

    Plan and counts must be of that spec, the counts made from this very plan, and the sampler one that the certificate holds
    for; else an `ArtefactError` says what differs.
    """
    chosen, arrays, counted = read_counts(without(spec, "certificate"), plan=plan, counts=counts)
    certificate, sampler = revive("certificate", spec["certificate"]), chosen.sampler
    problems = pairing_problems(certificate, chosen.noise, sampler)
    if problems:
        raise ArtefactError(
            f"{plan}: is not a valid plan for this certificate ({'; '.join(problems)}); give its own sampler's plan"
        )
    drawn = drawn_from(chosen.rows, arrays, chosen.noise, chosen.dim, spec["seed"], sampler.arithmetic)
    result = certificate_table(drawn, certificate, arrays["seconds"], source=str(counts))
    claim = certificate.claim(drawn)
    record = Provenance(
        format="certificate",
        spec=spec,
        parents={"plan": chosen.record.digest, "counts": counted.digest, **counted.parents},
        device=counted.device,
        notes={**counted.notes, "claim": asdict(claim)} | ({"noise_distance": drawn.slack} if drawn.slack else {}),
    )
    write_table(table, result, record)


def read_counts(
    spec: Mapping[str, Any], *, plan: str | Path, counts: str | Path
) -> tuple[Plan, dict[str, np.ndarray], Provenance]:
    """A plan, the arrays of stage 2 that were drawn by it, and their record; spec: `Study.counts_spec`.

    `ArtefactError` where they are of another specification, or of different images.
    """
    chosen = read_plan(plan, spec)
    arrays, counted = read_arrays(counts, format="counts", spec=spec)
    chosen.require(counts, counted)
    try:
        same_images(chosen.rows, arrays["idx"])
    except CountsError as error:
        raise ArtefactError(f"{counts}: {error}; delete it and merge the shards again") from error
    return chosen, arrays, counted
