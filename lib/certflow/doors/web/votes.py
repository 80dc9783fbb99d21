"""Votes on one image, answered at once: the smoothed class without a radius, and the share of votes for each class."""

from typing import Any

import numpy as np
import torch

from certflow.certify.memory import slack_of_votes, votes
from certflow.certify.predict import checked_votes, prediction_table, score_table
from certflow.doors.web.asked import Votes
from certflow.doors.web.card import Card
from certflow.doors.web.forms import Chosen, Wrong
from certflow.doors.web.ready_models import Ready
from certflow.doors.web.site import here


def prediction(card: Card, asked: Votes, image: Chosen) -> dict[str, Any]:
    """PREDICT of Cohen et al. (2019): the class, or -1 where the votes do not settle it. `Wrong` for too few votes."""
    try:
        checked_votes(asked.n, asked.alpha)
    except ValueError as error:
        raise Wrong({"n": str(error)}) from None
    found, slack = _voted(card, asked, image)
    row = prediction_table(found, asked.alpha, slack, _labels(image)).iloc[0]
    predict = int(row["predict"])
    found_out: dict[str, Any] = {"predict": predict, "class": card.named(predict) if predict >= 0 else None}
    found_out |= {"k": int(row["k"]), "p_value": float(row["p_value"]), "alpha": asked.alpha}
    return _asked(asked, image) | found_out | ({} if image.picture.label is None else {"correct": int(row["correct"])})


def scores(card: Card, asked: Votes, image: Chosen) -> dict[str, Any]:
    """The share of votes for each class: estimates without a guarantee."""
    found, _ = _voted(card, asked, image)
    row = score_table(found).iloc[0]
    return _asked(asked, image) | {"scores": [float(row[f"score_{number}"]) for number in range(card.classes)]}


def _asked(asked: Votes, image: Chosen) -> dict[str, Any]:
    known = {} if image.picture.label is None else {"label": image.picture.label}
    return {"image": image.picture.name, "n": asked.n, "seed": str(asked.seed), **known}


def _labels(image: Chosen) -> np.ndarray | None:
    label = image.picture.label
    return None if label is None else np.array([label], np.int64)


def _voted(card: Card, asked: Votes, image: Chosen) -> tuple[dict[str, np.ndarray], float]:
    """The votes, and by how much they may miss the law together."""
    noise = card.under(asked.sigma)

    def work(ready: Ready) -> dict[str, np.ndarray]:
        return votes(
            ready.base,
            torch.from_numpy(image.pixels[None]),
            noise,
            n=asked.n,
            seed=asked.seed,
            index=[image.picture.index],
            arithmetic=asked.arithmetic,
        )

    return here().worker.ask(card.id, work), slack_of_votes(noise, card.dim, asked.n, asked.arithmetic)
