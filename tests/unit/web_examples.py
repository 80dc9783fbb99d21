"""A folder of results with one small model, and an application over it."""

import io
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from stage_examples import DIGITS, MODEL

from certflow.data.store import content_digest, prepare
from certflow.doors.web.app import create_app
from certflow.doors.web.settings import Settings
from certflow.doors.web.site import NAME, Site
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.models import build, save_model

TOKEN = "a token of tests"
FROM_PAGE = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}
"""What a browser sends with a form of our own pages."""


def results_with(folder: Path, *noises: dict, seed: int = 1) -> Path:
    """Results as the pipeline leaves them: prepared data, and a model with random weights for each noise."""
    results = folder / "results"
    prepare(DIGITS, results / "data" / "digits.json")
    for noise in noises or ({"kind": "gaussian", "sigma": 0.05},):
        spec = spec_class("noise", noise["kind"])(**{key: value for key, value in noise.items() if key != "kind"})
        made = {
            "dataset": DIGITS.canonical(),
            "model": MODEL.architecture(),
            "method": spec_class("method", "gaussian")().canonical(),
            "noise": spec.canonical(),
            "seed": 0,
        }
        record = Provenance(
            format="model", spec=made, parents={"data": content_digest(results / "data" / "digits.json")}
        )
        torch.manual_seed(seed)
        path = results / f"train/digits/small/quick/{noise['kind']}-{spec.sigma:g}/seed0/model.safetensors"
        path.parent.mkdir(parents=True)
        save_model(path, build(MODEL, DIGITS.info()), record)
    return results


class Web:
    """An application and a client of it."""

    def __init__(self, results: Path, *, start: bool = True, **settings):
        self.app = create_app(Settings(results, token=TOKEN, device="cpu", **settings), start=start)
        self.client = self.app.test_client()
        self.site: Site = self.app.extensions[NAME]

    @property
    def model(self) -> str:
        """The id of the first model."""
        return self.site.cards.all()[0].id

    def get(self, path: str, **options):
        return self.client.get(path, buffered=True, **options)

    def post(self, path: str, data=None, **options):
        """A form of one of our pages."""
        return self.client.post(path, data=data, headers=FROM_PAGE, buffered=True, **options)

    def certify(self, **form) -> str:
        """Start a job through the form; its id."""
        answer = self.post(f"/models/{self.model}/certify", {"index": "3", "n": "2000", "seed": "5", **form})
        assert answer.status_code == 303, answer.get_data(as_text=True)
        return answer.location.rsplit("/", 1)[1]

    def ended(self, name: str, seconds: float = 300.0):
        """The job, once it has ended."""
        job, begun = self.site.jobs.get(name), time.monotonic()
        while not job.ended:
            assert time.monotonic() - begun < seconds, job.status
            job.wait(job.version, 0.2)
        return job

    def close(self) -> None:
        """End the worker, as the server does."""
        self.site.worker.close()


def picture(size: tuple[int, int] = (20, 30), mode: str = "RGB", kind: str = "PNG", **options) -> bytes:
    """A picture file."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()
