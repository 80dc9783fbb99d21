"""Training for knowledge continuity (Sun, Ma, Ge and Vosoughi 2024, algorithm 1): a hidden layer's volatility as a penalty."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from certflow.errors import TrainingError
from certflow.kinds.effect import OnlyWith
from certflow.kinds.registry import lazy, register
from certflow.training.base import MethodSpec

if TYPE_CHECKING:
    import torch

    from certflow.training.batch import Batch

continuity, hidden, items, losses = (
    lazy(f"certflow.{name}") for name in ("training.continuity", "models.hidden", "data.items", "training.losses")
)


@register("knowledge")
class Knowledge(MethodSpec):
    """Minimise the cross-entropy of noisy copies, plus the volatility of one hidden layer over the pairs of the batch.

    The layer is drawn anew for each mini-batch, deep ones more often. Under no noise the copies are the images. Loader
    batches are neither split nor shared out: a penalty of pairs is not a mean over images.
    """

    kind: Literal["knowledge"] = "knowledge"
    accepts: ClassVar[frozenset[str]] = frozenset({"pixels", "tokens"})
    splits: ClassVar[bool] = False
    parallel: ClassVar[bool] = False
    extras: ClassVar[tuple[str, ...]] = ("cross_entropy", "collapse", "penalty", "layer")
    example: ClassVar[dict[str, Any]] = {"lbd": 0.05, "penalty_warmup": 0.5}

    lbd: float = Field(10.0, ge=0)
    """Weight of the penalty. 10 to 100 after a warm-up; without one, from scratch, even 3 may collapse. What it does and does
    not do: docs/results/knowledge.md."""
    alpha: Annotated[float, OnlyWith("pick", "sampled")] = Field(2.0, gt=0)
    """The layer's place is drawn from the beta law of alpha and beta: (2, 1), the published choice, favours deep layers."""
    beta: Annotated[float, OnlyWith("pick", "sampled")] = Field(1.0, gt=0)
    """See `alpha`."""
    penalty_warmup: float | None = Field(None, ge=0, lt=1)
    """Share of the run before the penalty begins. Null: half of it, none with `start_from`."""
    penalty_ramp: float = Field(0.25, ge=0, le=1)
    """Share of the run over which the penalty's weight then rises linearly."""
    layers: Literal["stages", "blocks"] | Annotated[list[str], Field(min_length=1)] = "stages"
    """Hidden layers: the network's top-level parts, the members of its chains too, or modules by name (`1.layer2.0`)."""
    pick: Literal["sampled", "all"] = "sampled"
    """`all`: the mean over all layers at every step."""
    reduce: Literal["auto", "mean", "cls", "flatten"] = "auto"
    """How a layer's output becomes a vector: mean over pixels or tokens, the first token, or all of it."""
    distance: Literal["l1", "l2", "linf", "cosine"] = "l2"
    """Distance between representations."""
    stabiliser: float = Field(0.01, gt=0)
    """Added to every distance."""
    loss_kind: Literal["ce", "prob_ce"] = "ce"
    """What is learnt, and differs between the points of a pair. `prob_ce`: cross-entropy of probabilities, as published."""
    normalise: Literal["none", "mean_distance"] = "none"
    """`mean_distance`: distances in units of their mean, so that the network gains nothing by larger representations."""
    detach: Literal["none", "z", "loss"] = "none"
    """What the penalty sends no gradient through."""
    pair_sum: Literal["mean", "peer"] = "mean"
    """`peer`: the published code's sum over ordered pairs per image, batch − 1 times the mean."""

    @property
    def repeats(self) -> bool:
        """False: another layer is looked at in each mini-batch."""
        return False

    def weight(self, epoch: int) -> float:
        """The penalty's weight in an epoch (from 0)."""
        usual = 0.0 if self.start_from else 0.5
        warmup = usual if self.penalty_warmup is None else self.penalty_warmup
        return continuity.weight(self.lbd, epoch, self.epochs, warmup=warmup, ramp=self.penalty_ramp)

    def loss(self, batch: "Batch") -> tuple["torch.Tensor", dict[str, "torch.Tensor"]]:
        """(1/mB) Σ_{i,b} L_{i,b} + weight·P, P the mean over noises i of the volatility of the B copies."""
        weight, logged = self.weight(batch.epoch), {}
        chosen, place = self.chosen(batch) if weight > 0 else ([], 0.0)
        copies = batch.copies(self.noises)
        with hidden.captured(batch.model, chosen, self.reduce, items.counting(copies.flatten(0, 1))) as found:
            logits = batch.forward(copies)
        each = losses.cross_entropy(logits.softmax(-1) if self.loss_kind == "prob_ce" else logits, batch.y)
        objective = each.mean()
        if weight > 0:
            penalty = sum((self.penalty(found[name], each) for name in chosen), objective.new_zeros(())) / len(chosen)
            objective = objective + weight * penalty
            logged = {"penalty": penalty.detach(), "layer": penalty.new_full((), place)}
        ce = losses.cross_entropy(logits.detach(), batch.y).mean()
        return objective, {
            **logged,
            "cross_entropy": ce,
            "collapse": ce / math.log(logits.shape[-1]),
            "accuracy": losses.accuracy(logits, batch.y),
        }

    def chosen(self, batch: "Batch") -> tuple[list[str], float]:
        """The layers that this mini-batch looks at, and their (mean) place in forward order, from 0."""
        names = hidden.known_layers(batch.model, batch.x[:1], self.layers)
        if self.pick == "all":
            return names, (len(names) - 1) / 2
        place = continuity.sampled_layer(batch.coin(), self.alpha, self.beta, len(names))
        return [names[place]], float(place)

    def penalty(self, z: "torch.Tensor", each: "torch.Tensor") -> "torch.Tensor":
        """P from representations [m·images, dim] and losses [m, images]."""
        options = {
            "stabiliser": self.stabiliser,
            "distance": self.distance,
            "normalise": self.normalise == "mean_distance",
            "detach": self.detach,
            "pair_sum": self.pair_sum,
        }
        copies = zip(z.unflatten(0, each.shape), each, strict=True)
        return sum(continuity.penalty(rows, values, **options) for rows, values in copies) / len(each)

    def judge(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stop a training that found the constant loss, where the penalty is 0 and nothing is classified."""
        last, quiet = rows[-1], [row for row in rows if self.weight(row["epoch"]) == 0]
        if self.weight(last["epoch"]) == 0:
            return
        before = quiet[-1]["train_cross_entropy"] if quiet else None
        if continuity.collapse(last["train_collapse"], last["train_cross_entropy"], before):
            raise TrainingError(
                f"epoch {last['epoch']}: the training's cross-entropy is {last['train_cross_entropy']:.3f}, "
                f"{last['train_collapse']:.0%} of that of a network that says nothing: it has found the constant loss, where "
                f"there is no volatility. Lower lbd (now {self.lbd:g}), raise penalty_warmup (now {self.penalty_warmup}), or "
                "start from a trained network (start_from)"
            )
