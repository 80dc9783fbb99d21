"""A running job: where its output goes, and the objects its parameters stand for."""

import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from certflow.data.base import DatasetSpec
from certflow.data.corruptions.naming import copies_parts
from certflow.errors import CertflowError, short_of_memory, shortage
from certflow.files.whereabouts import describe, now, whereabouts
from certflow.kinds.registry import revive, spec_class
from certflow.kinds.spec import canonical_json
from certflow.machine.claims import claim, pool
from certflow.machine.naming import device_name
from certflow.machine.standard import open_standard
from certflow.workflow.clock import require_past
from certflow.workflow.joblog import log_to

if TYPE_CHECKING:
    from certflow.data.corruptions.base import CorruptionSpec
    from certflow.data.corruptions.store import Corrupted
    from certflow.denoising.base import DenoiserSpec
    from certflow.training.base import MethodSpec


@contextmanager
def attached(job: Any) -> Iterator[Any]:
    """Run a job with its output in its log (`certflow.workflow.joblog`), unless an input is from the future.

    One of our own errors ends the job with its message alone; any other with its traceback. Both are the last lines of the log.
    """
    open_standard()
    try:
        log_to(str(job.log))
    except CertflowError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    started = time.monotonic()
    print(f"{now()} {describe(whereabouts())}", file=sys.stderr, flush=True)
    try:
        require_past(job.input, str(job.log))
        yield job
    except CertflowError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    except Exception as error:
        traceback.print_exc()
        if short_of_memory(error):
            print(f"error: {shortage(error)}", file=sys.stderr)
        sys.stderr.flush()
        raise SystemExit(1) from None
    print(f"done in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def dataset_of(job: Any, name: str | None = None) -> DatasetSpec:
    """The job's dataset, or the entry `name` that is not among its wildcards."""
    canonical = job.params.spec["dataset"] if "dataset" in job.params.spec else job.params.spec
    return _revived(job, "dataset", canonical, "datasets", name or job.wildcards.dataset)


def method_of(job: Any) -> "MethodSpec":
    """The job's training method."""
    return _revived(job, "method", job.params.spec["method"], "methods", job.wildcards.method)


def denoiser_of(job: Any, name: str | None) -> "DenoiserSpec | None":
    """The denoiser entry `name` in the job's params; None without a denoiser."""
    if name is None:
        return None
    return _revived(job, "denoiser", job.params.spec["parts"]["denoiser"], "denoisers", name)


def _revived(job: Any, family: str, canonical: dict[str, Any], section: str, name: str) -> Any:
    """A spec: its identity from the job's params, and where its files are (no part of the identity) from the configuration."""
    entry = job.config[section][name]
    places = {key: entry[key] for key in spec_class(family, canonical["kind"]).unhashed if key in entry}
    return revive(family, canonical, **places)


def corrupted_of(job: Any) -> "Corrupted | None":
    """The corrupted copies that a job's `images` wildcard names, if it names any."""
    from certflow.data.corruptions.store import Corrupted

    _, entry, name = copies_parts(job.wildcards.images)
    if entry is None or name is None:
        return None
    return Corrupted(corruption_of(job, entry), name, job.input.corrupted)


def corruption_of(job: Any, entry: str) -> "CorruptionSpec":
    """An entry of `corruptions`."""
    fields = job.config["corruptions"][entry]
    return spec_class("corruption", fields["kind"]).model_validate_json(canonical_json(fields))


def pictures(output: Iterable[str]) -> list[str]:
    """A job's output files without the records that are written beside them."""
    return [path for path in output if not path.endswith(".json")]


def device_of(job: Any) -> Any:
    """The torch device of a job, with its threads set: the first of `devices_of`."""
    return devices_of(job, 1)[0]


def devices_of(job: Any, count: int | None = None) -> list[Any]:
    """The torch devices of a job, with its threads set: as many as its `gpu` resource says (or `count`), if there are enough.

    They come from `$CERTFLOW_DEVICE` (such as `cpu` or `cuda:0,cuda:1`), else from all visible GPUs, else it is the CPU. Where
    there are more than the job wants, it takes free ones (`certflow.machine.claims`).
    """
    import torch

    torch.set_num_threads(job.threads)
    count = count or max(1, int(getattr(job.resources, "gpu", 1)))
    names = claim(pool(torch.cuda.device_count() if torch.cuda.is_available() else 0), count)
    if len(names) < count:
        print(f"asked for {count} devices, there are {len(names)}", file=sys.stderr)
    devices = [torch.device(name) for name in names]
    if count == 1 and devices[0].type == "cuda" and devices[0].index is not None:
        torch.cuda.set_device(devices[0])  # else whatever names no device would also take memory on the first one
    called = ", ".join(device_name(device) for device in devices)
    print(f"device: {called}, {job.threads} threads", file=sys.stderr, flush=True)
    return devices
