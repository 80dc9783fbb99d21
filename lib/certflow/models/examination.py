"""The doctor: what a checkpoint is, how it does on a few test images, and what looks wrong with the way it is used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from certflow.data.base import DataInfo, Split
from certflow.errors import ArtefactError
from certflow.files.printable import printable
from certflow.models.base import ModelSpec
from certflow.models.findings import LARGEST_SIGMA, Finding, findings
from certflow.models.normalise import normalisation
from certflow.models.probing import Probe, Trial, alternatives, scaled_down
from certflow.models.published import Loaded, load_weights
from certflow.models.taking import Source
from certflow.noise.base import NoiseSpec

SOURCES = {"given": "set by the method entry", "file": "stored in the file", "data": "the dataset's"}
SETS = 2
"""Other sets of weights in the file that are tried at most."""


@dataclass(frozen=True)
class Examination:
    """Everything the doctor found out about a checkpoint."""

    path: str
    source: Source
    weights: int
    """Numbers in the network's parameters and buffers."""
    normalisation: Mapping[str, Any]
    """`from` (given, file or data), `mean` and `sd`."""
    sigma: float
    images: int
    clean_accuracy: float
    noisy_accuracy: float
    trials: tuple[Trial, ...]
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> list[str]:
        return [str(finding) for finding in self.findings if finding.warning]

    def notes(self) -> dict[str, Any]:
        """Plain values for a provenance record. `alternatives`: way to use the model → noisy accuracy; `tests`: way → gains,
        losses and p-value of the paired test, and on how many images."""
        warnings = self.warnings
        return {
            "checkpoint": self.path,
            "file": self.source.what,
            "weights": self.source.taken,
            "averaged_weights": self.source.average,
            "other_weights": list(self.source.others),
            "beside": list(self.source.beside),
            "dropped": list(self.source.dropped),
            "normalisation": dict(self.normalisation),
            "images": self.images,
            "clean_accuracy": self.clean_accuracy,
            "noisy_accuracy": self.noisy_accuracy,
            "alternatives": {trial.name: trial.accuracy for trial in self.trials},
            "tests": {
                trial.name: {"images": len(trial.right), "gains": trial.gains, "losses": trial.losses, "p": trial.p}
                for trial in self.trials
            },
            "findings": [str(finding) for finding in self.findings],
            **({"warning": "; ".join(warnings), "warnings": warnings} if warnings else {}),
        }

    def page(self) -> str:
        """One page of plain text."""
        source, norm = self.source, self.normalisation
        how = "none" if norm["mean"] is None else f"mean {_short(norm['mean'])}, sd {_short(norm['sd'])}"
        lines = [
            f"Model    {self.path}",
            f"File     {source.what}; nothing in it was run",
            f"Weights  {source.taken}{' (running averages)' if source.average else ''}: {self.weights:,} numbers",
            *_listed("Also     ", source.others, "; choose by `weights`"),
            *_listed("Beside   ", source.beside, ""),
            *_listed("Dropped  ", source.dropped, ""),
            f"Input    pixels in [0,1], normalised by {how} ({SOURCES[norm['from']]})",
            "",
            f"Accuracy on {self.images} test images, noise of sigma {self.sigma:g} (one draw each; paired exact McNemar test):",
            f"  {self.clean_accuracy:7.1%}  as chosen, clean images",
            f"  {self.noisy_accuracy:7.1%}  as chosen, under noise",
            *(_trial_line(trial) for trial in self.trials),
            "",
            *(f"{'WARNING' if finding.warning else 'Note'}: {finding}" for finding in self.findings),
        ]
        return "\n".join(map(printable, lines if self.findings else [*lines, "Nothing looks wrong."]))


def examine(
    checkpoint: str | Path,
    options: Mapping[str, Any],
    spec: ModelSpec,
    info: DataInfo,
    test: Split,
    noise: NoiseSpec,
    seed: int,
    device: str | torch.device = "cpu",
) -> tuple[torch.nn.Sequential, Examination]:
    """The network of `spec` with the weights of `checkpoint`, in eval mode on `device`, and what was found out about it.

    options: of `load_weights`. Every other way to use the model is tried on the same images under the same noise: the usual
    normalisations, pixels in 0 ... 255, blue before red, and other sets of weights in the file. Takes seconds: the number of
    images follows from the cost of the network. Raises `ArtefactError` for a file that cannot be read or does not fit,
    `NonFiniteError` for logits that are NaN or infinite.
    """
    path = Path(checkpoint)
    loaded = load_weights(path, spec, info, classes=info.classes, **options)
    network = loaded.module.to(device)
    probe = Probe(network, test, info, noise, seed, torch.device(device), path)
    clean, noisy = (probe.predictions(noisy=way) for way in (False, True))
    trials, labels = tuple(_trials(probe, loaded, options, spec, info)), probe.labels[: probe.images]
    layer = normalisation(network)
    return network, Examination(
        path=str(path),
        source=loaded.source,
        weights=sum(tensor.numel() for tensor in network[1].state_dict().values()),
        normalisation={"from": loaded.normalisation, "mean": _numbers(layer.mean), "sd": _numbers(layer.sd)},
        sigma=noise.sigma,
        images=probe.images,
        clean_accuracy=float((clean == labels).mean()),
        noisy_accuracy=float((noisy == labels).mean()),
        trials=trials,
        findings=tuple(findings(labels, clean, noisy, trials, info.classes, noise.sigma)),
    )


def _trials(probe: Probe, loaded: Loaded, options: Mapping[str, Any], spec: ModelSpec, info: DataInfo) -> list[Trial]:
    """Every other way to use the model, tried."""
    network, device = loaded.module, probe.device
    tried, layers = [], [normalisation(network)]
    for name, layer in (*scaled_down(layers[0]), *alternatives(info)):
        layer = layer.to(device)
        if not any(layer.does_as(known) for known in layers):
            layers.append(layer)
            tried.append(probe.trial(name, network.normalised_by(layer)))
    if info.shape[0] == 3:
        swap = "blue before red (store the first layer's weights with their input channels reversed)"
        tried.append(probe.trial(swap, lambda x: network(x.flip(1))))
    if probe.noise.sigma > LARGEST_SIGMA and "additive" in probe.noise.offers:
        small = f"noise of sigma {probe.noise.sigma / 255:.4g} (sigma was meant on the scale of 0 ... 255)"
        tried.append(probe.trial(small, network, scale=1 / 255))
    for label in loaded.source.others[:SETS]:
        other = _other(probe.path, {**options, "weights": label}, spec, info)
        if other is not None:
            tried.append(probe.trial(f"other weights (weights: {label!r})", other.to(device)))
    return tried


def _other(path: Path, options: Mapping[str, Any], spec: ModelSpec, info: DataInfo) -> torch.nn.Module | None:
    """The network with another set of the file's weights; None where these do not fit after all."""
    try:
        return load_weights(path, spec, info, classes=info.classes, **options).module
    except ArtefactError:
        return None


def _trial_line(trial: Trial) -> str:
    test = f"+{trial.gains} -{trial.losses}, p = {trial.p:.1g}"
    return f"  {trial.accuracy:7.1%}  {trial.name} ({test}, {len(trial.right)} images)"


def _listed(heading: str, names: tuple[str, ...], more: str) -> list[str]:
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return [f"{heading}{shown}{more}"] if names else []


def _numbers(values: torch.Tensor | None) -> list[float] | None:
    return None if values is None else values.flatten().tolist()


def _short(values: list[float]) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
