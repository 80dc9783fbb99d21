"""What it costs to watch: `python benchmarks/live.py [--json FILE]`, a minute or two.

Overhead: the same draws of one image counted at once by `certflow.sampling.engine.count_classes`, and in instalments by
`certflow.certify.live.Live` with the looks that the web application takes, in turns on one thread; CPU seconds are compared.
First moment: the time from sending the form of the web application to the first numbers on disk and on the page's stream, with
the model in memory; and the rate of a job that a page follows against one that nobody follows.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.field import CIFAR, MNIST, in_turns, machine, network
from certflow.certify.kinds.anytime import Anytime
from certflow.certify.live import Live
from certflow.data.base import DataInfo
from certflow.data.kinds.digits import Digits
from certflow.data.store import content_digest, prepare
from certflow.doors.web.app import create_app
from certflow.doors.web.settings import Settings
from certflow.doors.web.site import NAME, Site
from certflow.doors.web.tasks.certify import LOOKING, plain_moment
from certflow.files.provenance import Provenance
from certflow.models import build, save_model
from certflow.models.base import Inference
from certflow.models.kinds.small_conv import SmallConv
from certflow.noise import Gaussian, Stream
from certflow.sampling.classifier import BaseClassifier
from certflow.sampling.engine import count_classes
from certflow.sampling.kinds.fixed import Fixed
from certflow.sampling.settings import engine_settings
from certflow.training.kinds.gaussian import Gaussian as GaussianTraining

CASES: dict[str, tuple[dict, DataInfo, int]] = {
    "lenet": ({"kind": "lenet"}, MNIST, 20_000),
    "cifar_resnet20": ({"kind": "cifar_resnet", "depth": 20}, CIFAR, 3_000),
}
"""Name → model, data, draws."""
ROUNDS = 3
FORM = {"index": "3", "way": "anytime.l2"}
PAGE = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}


def overhead(model: dict, info: DataInfo, draws: int) -> dict[str, float]:
    """Median CPU seconds of both ways, and how many looks were taken."""
    base = BaseClassifier(network(model, info), Inference(), shape=info.shape, classes=info.classes)
    image = torch.randint(0, 256, (1, *info.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noise, looks = Gaussian(sigma=0.25), []
    sampler = Fixed(n0=100, n=draws)
    certificate = Anytime(sampler="fixed")
    zero, many = np.zeros(1, np.int64), np.array([draws])
    options: dict[str, Any] = {"noise": noise, "seed": 0, "quiet": True}

    def at_once() -> None:
        count_classes(base, image, zero, np.array([100]), stream=Stream.SELECTION, **options)
        count_classes(base, image, zero, many, stream=Stream.ESTIMATION, **options)

    @engine_settings()  # as the application's worker holds them
    def watched() -> None:
        moments = Live(base, image[0], noise, sampler, certificate).moments(looking=LOOKING)
        looks.append(sum(1 for moment in moments if plain_moment(moment)))

    times = in_turns({"at_once": at_once, "watched": watched}, ROUNDS, torch.device("cpu"))
    found = {name: statistics.median(values) for name, values in times.items()}
    return {
        **found,
        "draws": draws,
        "looks": statistics.median(looks),
        "overhead": found["watched"] / found["at_once"] - 1,
    }


def application(folder: Path) -> tuple[Site, object, str]:
    """The application over one model of digits with random weights; its site, a client, and the model's id."""
    digits, small = Digits(), SmallConv()
    manifest = folder / "data/digits.json"
    prepare(digits, manifest)
    method, noise = GaussianTraining(), Gaussian(sigma=0.05)
    entries = {"dataset": digits.canonical(), "model": small.architecture(), "method": method.canonical()}
    record = Provenance(
        format="model",
        spec={**entries, "noise": noise.canonical(), "seed": 0},
        parents={"data": content_digest(manifest)},
    )
    torch.manual_seed(0)
    path = folder / "train/digits/small/quick/gauss/seed0/model.safetensors"
    path.parent.mkdir(parents=True)
    save_model(path, build(small, digits.info()), record)
    app = create_app(Settings(folder, device="cpu"))
    site: Site = app.extensions[NAME]
    return site, app.test_client(), site.cards.all()[0].id


def first_moments(site: Site, client, model: str) -> dict[str, float]:
    """Seconds until the first look is known, median; the first try, which loads the model, apart."""
    taken = []
    for seed in range(ROUNDS + 1):
        begun = time.perf_counter()
        job = site.jobs.get(started(client, model, n=20_000, seed=seed))
        while not job.ended and not any(moment["drawn"] for moment in job.moments):
            job.wait(job.version, 0.01)
        taken.append(time.perf_counter() - begun)
        finished(site, job)
    return {"cold": taken[0], "warm": statistics.median(taken[1:])}


def followed_rate(site: Site, client, model: str) -> dict[str, float]:
    """Draws per second of jobs that nobody follows, and of those that one page follows live."""
    rates: dict[str, list[float]] = {"alone": [], "followed": []}
    for seed in range(ROUNDS):
        for name, found in rates.items():
            begun = time.perf_counter()
            job = site.jobs.get(started(client, model, n=100_000, seed=seed))
            if name == "followed":
                page = client.application.test_client()
                thread = threading.Thread(target=lambda page=page, job=job: page.get(f"/jobs/{job.id}/live").data)
                thread.start()
            finished(site, job)
            found.append(100_000 / (time.perf_counter() - begun))
            if name == "followed":
                thread.join()
    return {name: statistics.median(found) for name, found in rates.items()}


def started(client, model: str, **form: int) -> str:
    """The id of a job that was started by the form."""
    data = {**FORM, **{name: str(value) for name, value in form.items()}}
    return client.post(f"/models/{model}/certify", data=data, headers=PAGE).location.rsplit("/", 1)[1]


def finished(site: Site, job) -> None:
    """Wait for the end of a job."""
    while not job.ended or site.worker.running is not None:
        job.wait(job.version, 0.01)
    if job.status.state != "done":
        raise SystemExit(f"the job {job.status.state}: {job.status.message}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the numbers there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict = {"machine": machine(torch.device("cpu")), "overhead": {}}
    print("network            draws  looks  at once s  watched s  overhead")
    for name, case in CASES.items():
        one = found["overhead"][name] = overhead(*case)
        shown = f"{one['at_once']:9.2f} {one['watched']:10.2f} {one['overhead']:9.1%}"
        print(f"{name:16} {one['draws']:8,} {one['looks']:6.0f}  {shown}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        site, client, model = application(Path(folder))
        found["first"] = first_moments(site, client, model)
        found["rate"] = followed_rate(site, client, model)
        site.worker.close()
    first, rate = found["first"], found["rate"]
    print(f"first moment: {first['warm'] * 1000:.0f} ms with the model in memory, {first['cold']:.2f} s without")
    print(f"digits: {rate['alone']:,.0f} draws a second alone, {rate['followed']:,.0f} followed by a page")
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
