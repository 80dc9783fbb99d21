"""Speed of an FT-CADIS step against the published loop: `python benchmarks/finetuning.py [--json FILE]`, a minute or two.

The published loop, written down from its description: images in [-1, 1], noise from torch's stateful generator, every image
attacked and classified once more before the mask is applied, gradients clipped tensor by tensor, torch's AdamW with a group per
layer, three numbers read per step. Ours is what `certflow.training.loop` runs: only images whose copies are all right are
attacked. Same architecture, same images, in turns; CPU seconds of one thread are compared (seconds on a GPU).

Labels are chosen so that of a fraction f of the images all copies are right. In units of a pass of all copies through the
classifier the work is then c + 6 + 2T against c + 3 + (3 + 2T)·f, T the attack's steps, c the denoiser's pass, which both make.
The ratio of the two is the bound that is printed; f and c are measured.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F

from benchmarks.denoised import UNET
from benchmarks.field import CIFAR, PRECISIONS, default_device, in_turns, machine, native_precisions, network, seconds
from certflow.data.base import DataInfo
from certflow.denoising.composed import DenoiseThenClassify
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.training.kinds.ftcadis import FtCadis
from certflow.training.layerwise import decays, rates
from certflow.training.meter import Meter
from certflow.training.stepper import Stepper

SIGMA = 0.5
DIGITS = DataInfo(classes=10, shape=(1, 8, 8))
VIT = {"kind": "timm", "name": "vit_tiny_patch16_224"}
RECIPE: dict[str, Any] = {
    "start": "pair",
    "noises": 4,
    "steps": 4,
    "layer_decay": 0.65,
    "clip": 0.3,
    "schedule": "cosine",
    "epochs": 1000,
}


@dataclass(frozen=True)
class Case:
    """A classifier, a denoiser before it, the data they take, images per step, and the side that the classifier sees."""

    classifier: dict
    denoiser: dict
    info: DataInfo
    batch: int
    resize: int | None = None

    def build(self, device: torch.device) -> DenoiseThenClassify:
        """The pair with fresh weights, its classifier to be trained."""
        torch.manual_seed(0)
        side = self.resize or self.info.shape[1]
        seen = DataInfo(self.info.classes, (self.info.shape[0], side, side), self.info.mean, self.info.sd)
        classifier = network(self.classifier, seen)
        denoiser = spec_class("denoiser", self.denoiser["kind"])(**self.denoiser).build(self.info, SIGMA)
        return DenoiseThenClassify(denoiser, classifier, resize=self.resize, learns="classifier").to(device).train()


CASES = {
    "digits-vit": Case(
        {**VIT, "settings": {"patch_size": 2, "embed_dim": 64, "depth": 4, "num_heads": 4}},
        {**UNET, "widths": (16, 32), "attention": (1,)},
        DIGITS,
        batch=32,
    ),
    "cifar-vit": Case(
        {**VIT, "settings": {"patch_size": 4, "embed_dim": 192, "depth": 6, "num_heads": 3}}, UNET, CIFAR, batch=16
    ),
    "cifar-vit-b16": Case({**VIT, "name": "vit_base_patch16_224"}, UNET, CIFAR, batch=32, resize=224),
}


def published(spec: FtCadis, model: DenoiseThenClassify, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Loss of a mini-batch, and the numbers that are logged."""
    m, images = spec.noises, len(y)
    u = (2 * x - 1).repeat(m, 1, 1, 1)
    with torch.no_grad():
        d = 2 * model.denoiser((u + 1) / 2 + SIGMA * torch.randn_like(u)) - 1
    logits = _classify(model, d)
    right = (logits.argmax(1) == y.repeat(m)).view(m, images)
    ce = F.cross_entropy(logits, y.repeat(m), reduction="none").view(m, images)
    kept = (ce * right).sum(0) / m
    kept = torch.where(right.any(0), kept, ce.min(0).values / m)
    target = logits.softmax(1).view(m, images, -1).mean(0)
    eta = attacked(spec, model, u, d - u, target.detach().repeat(m, 1))
    worst = _divergence(target.repeat(m, 1), _classify(model, u + eta)).view(m, images).max(0).values
    mask = right.all(0).float()
    loss = (kept + spec.lbd * mask * worst).mean()
    return loss, kept.mean(), right.float().mean(), mask.mean()


def attacked(spec, model, u, start, target):
    """Ascent in steps of 2ε/T, each projected to ε around the start and brought back to its mean and root mean square."""
    eps, eta = 2 * spec.eps, start
    mean, scale = _mean(start), _mean(start.square()).sqrt()
    model.eval()
    for parameter in model.classifier.parameters():
        parameter.requires_grad_(False)
    for _ in range(spec.steps):
        eta = eta.detach().requires_grad_()
        (g,) = torch.autograd.grad(_divergence(target, _classify(model, u + eta)).sum(), eta)
        eta = eta.detach() + 2 * eps / spec.steps * g / (_norm(g) + 1e-8) - start
        eta = start + eta * (eps / (_norm(eta) + 1e-7)).clamp(max=1.0)
        eta = mean + scale * (eta - _mean(eta)) / _mean(eta.square()).sqrt()
    for parameter in model.classifier.parameters():
        parameter.requires_grad_(True)
    model.train()
    return eta


def _classify(model, u):
    return model.classify((u + 1) / 2).float()


def _divergence(p, logits):
    return F.kl_div(F.log_softmax(logits, 1), p, reduction="none").sum(1)


def _mean(rows):
    return rows.mean((1, 2, 3), keepdim=True)


def _norm(rows):
    return rows.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def their_step(spec: FtCadis, case: Case, x, y, precision: str) -> tuple[Callable[[], None], list]:
    """One step of the published loop, and the fractions of masked images that it meets."""
    model, met = case.build(x.device), []
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    scales = rates(named, spec.layer_decay)
    groups = [
        {"params": [p], "lr": spec.lr * scales[name], "weight_decay": spec.weight_decay if decays(name, p) else 0.0}
        for name, p in named.items()
    ]
    optimiser = torch.optim.AdamW(groups)

    def step():
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            loss, *logged = published(spec, model, x, y)
        optimiser.zero_grad()
        loss.backward()
        for parameter in named.values():
            torch.nn.utils.clip_grad_norm_(parameter, RECIPE["clip"])
        optimiser.step()
        met.append([number.item() for number in (loss, *logged)][-1])

    return step, met


def our_step(spec: FtCadis, case: Case, x, y, precision: str) -> tuple[Callable[[], None], Meter]:
    """One step of ours, and the meter that logs it."""
    model, meter = case.build(x.device), Meter(extras=spec.extras)
    method = spec.model_copy(update={"precision": precision})
    stepper = Stepper(method, model, noise=Gaussian(sigma=SIGMA), seed=0, batches=10**6)
    index, number = torch.arange(len(y), device=x.device), iter(range(10**6))
    return lambda: stepper.advance((index, x, y), 0, next(number), meter), meter


@torch.no_grad()
def labels(case: Case, x: torch.Tensor, fraction: float) -> torch.Tensor:
    """What the fresh classifier says of the first images, and something else for the rest."""
    model = case.build(x.device).eval()
    y = model(x + SIGMA * torch.randn_like(x)).argmax(1)
    wrong = torch.arange(len(x), device=x.device) >= round(fraction * len(x))
    return torch.where(wrong, (y + 1) % case.info.classes, y)


@torch.no_grad()
def denoiser_cost(case: Case, x: torch.Tensor, copies: int, rounds: int) -> float:
    """What a pass through the denoiser takes, in units of one through the classifier."""
    model, rows = case.build(x.device).eval(), x.repeat(copies, 1, 1, 1)
    parts = (lambda: model.denoiser(rows), lambda: model.head(rows))
    times = [min(seconds(part, x.device) for _ in range(rounds + 1)) for part in parts]
    return times[0] / times[1]


def measure(case: Case, fraction: float, rounds: int, device: torch.device, precision: str) -> dict:
    """Both steps in turns: seconds of each, their ratio, and what the ratio can be at the fraction of masked images met."""
    torch.manual_seed(1)
    spec = FtCadis.model_validate({**RECIPE, "batch": case.batch, "lr": 1e-9})
    x = torch.rand(case.batch, *case.info.shape, device=device)
    y = labels(case, x, fraction)
    theirs, met = their_step(spec, case, x, y, precision)
    ours, meter = our_step(spec, case, x, y, precision)
    times = in_turns({"published": theirs, "ours": ours}, rounds, device)
    meter.read("benchmark")
    masked, work = meter.mean("masked") or 0.0, 3 + 2 * spec.steps
    cost = denoiser_cost(case, x, spec.noises, rounds)
    ratio = statistics.median(a / b for a, b in zip(times["published"], times["ours"], strict=True))
    bound = (cost + 3 + work) / (cost + 3 + work * statistics.fmean([masked, statistics.fmean(met)]))
    return {
        "masked": masked,
        "masked_published": statistics.fmean(met),
        **{f"{name}_images_per_second": case.batch / min(found) for name, found in times.items()},
        "denoiser_cost": cost,
        "ratio": ratio,
        "bound": bound,
        "of_bound": ratio / bound,
        **({"peak_gigabytes": torch.cuda.max_memory_allocated(device) / 1e9} if device.type == "cuda" else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="*", choices=CASES, help="default: all; on a CPU without ViT-B/16")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.6, 0.2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default=default_device())
    parser.add_argument("--precisions", nargs="+", choices=["float32", "bfloat16"], help=PRECISIONS)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    precisions = options.precisions or (native_precisions(device) if device.type == "cuda" else ["float32"])
    names = options.cases or [name for name in CASES if device.type == "cuda" or name != "cifar-vit-b16"]
    report = {"machine": machine(device), "cases": {}}
    for name in names:
        for precision in precisions:
            for fraction in options.fractions:
                found = measure(CASES[name], fraction, options.rounds, device, precision)
                report["cases"][f"{name} {precision} {fraction:g}"] = found
                print(
                    f"{name} {precision}: {found['masked']:.2f} of the images masked: published "
                    f"{found['published_images_per_second']:.1f} images/s, ours {found['ours_images_per_second']:.1f}, "
                    f"{found['ratio']:.2f} times, {found['of_bound']:.2f} of the bound {found['bound']:.2f}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
