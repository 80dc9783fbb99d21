"""Attacks on a certified image: within its radius nothing should be found, beyond it usually something is."""

from typing import Any

import numpy as np
import torch

from certflow.attacks.base import AttackSpec
from certflow.attacks.running import attack_images
from certflow.attacks.victim import Victim
from certflow.doors.web.asked import AskedAttack
from certflow.doors.web.job import Job
from certflow.doors.web.ready_models import Ready
from certflow.doors.web.tasks.following import check
from certflow.kinds.registry import spec_class
from certflow.noise.base import NoiseSpec

KIND = "smooth_pgd"
JUST_INSIDE = 1 - 1e-6
"""The ball that is certified is open: an attack at the radius itself stays this far inside it."""


def attack_spec(asked: AskedAttack, factor: float) -> AttackSpec:
    """The attack at one multiple of the certified radius."""
    eps = factor * asked.radius * (JUST_INSIDE if factor == 1 else 1.0)
    settings = {"norm": asked.norm, "eps": [eps], "steps": asked.steps, "noises": asked.noises, "n": asked.votes}
    return spec_class("attack", KIND).model_validate({**settings, "alpha": asked.draws.alpha})


def attack_problems(noise: NoiseSpec, norm: str) -> list[str]:
    """Why models of this noise cannot be attacked here (empty: they can)."""
    found = spec_class("attack", KIND).model_validate({"eps": [0.1]}).problems(noise)
    if norm not in ("l2", "linf"):
        found.append(f"attacks are known in l2 and l-infinity, not in {norm}")
    return found


def attack(job: Job[AskedAttack], ready: Ready) -> None:
    """See `certflow.doors.web.tasks.TASKS`. An attack cannot be resumed; one that was interrupted starts again."""
    asked, model = job.asked, ready.brought.model
    if not isinstance(model, torch.nn.Module):
        raise ValueError("the model is not a torch module and gives no gradients to follow")
    noise, base = ready.card.under(asked.draws.sigma), ready.base
    x = torch.from_numpy(job.pixels()[:1]).to(torch.float32) / 255
    victim = Victim(model.to(base.device), base, noise, asked.draws.seed)
    at = {"label": np.array([asked.target]), "index": np.array([asked.picture.index])}
    rows: list[dict[str, Any]] = []
    images: list[np.ndarray] = []
    job.progress(0, len(asked.factors))
    for factor in asked.factors:
        check(job)
        spec = attack_spec(asked, factor)
        found = attack_images(spec, victim, x, **at, eps=np.array(spec.eps))
        images.append(found.images[0].cpu().numpy())
        rows.append(
            {
                "factor": factor,
                "eps": spec.eps[0],
                "norm": float(found.norm[0]),
                "before": int(found.predict[0]),
                "after": int(found.attacked_predict[0]),
                "success": bool(found.success[0]),
                "seconds": float(found.seconds[0]),
            }
        )
        job.write_copies(attacked=np.stack(images))
        job.write_found({"rows": rows})
        job.progress(len(rows), len(asked.factors))
