"""Paths of results, as patterns over the names of entries. A path is the sentence of how the file was made: each stage keeps
its parents' names and adds its own."""

import re
from pathlib import Path

MODEL = "{dataset}/{model}/{method}/{noise}/seed{seed}"
COUNTS = f"{MODEL}/{{images}}/{{sampler}}"
PREDICTIONS = "{dataset}/{model}/{predictions}"
ATTACK = f"{MODEL}/{{images}}/{{attack}}"
KNOWLEDGE = f"{MODEL}/{{knowledge}}"

DATA = "results/data/{dataset}.json"
DATA_STATE = "results/data/{dataset}.source"
COPIES = "results/data/{dataset}/{corruptions}/{corruption}.json"
WEIGHTS = f"results/train/{MODEL}/model.safetensors"
TRAINING = f"results/train/{MODEL}/training.tsv"
TRAINING_RECORD = f"results/train/{MODEL}/training.json"
DENOISER = "results/denoisers/{dataset}/{denoiser}/seed{seed}/denoiser.safetensors"
VOTES = f"results/predictions/{PREDICTIONS}.npz"
VOTES_SHARD = f"results/predictions/{PREDICTIONS}/shards/{{scatteritem}}.npz"
FIRST_COUNTS = f"results/presample/{COUNTS}.npz"
PLAN = f"results/plan/{COUNTS}.tsv"
SHARD = f"results/sample/{COUNTS}/shards/{{scatteritem}}.npz"
COUNTED = f"results/sample/{COUNTS}.npz"
CERTIFICATE = f"results/certificates/{COUNTS}/{{certificate}}.tsv"
ATTACKED = f"results/attacks/{ATTACK}.tsv"
CORRUPTED = "results/corruptions/{experiment}.tsv"
ESTIMATED = "results/estimates/{experiment}.tsv"
ESTIMATED_CURVES = "results/figures/{experiment}/estimate.svg"
DENOISED = "results/figures/{experiment}/denoised.svg"
REPORT = "results/reports/{experiment}.html"
FEATURES = f"results/features/{KNOWLEDGE}.npz"
VOLATILITY = f"results/knowledge/{KNOWLEDGE}/volatility.tsv"
LAYERS_CERTIFICATE = f"results/knowledge/{KNOWLEDGE}/certificate.tsv"
DIAGNOSIS = "results/diagnoses/{diagnosis}.html"


def beside(path: str | Path, form: str, other: str, **more: str) -> Path | None:
    """The path of another form for the names in a path of one form, and `more` names; None where the path is not of its form.

    Both lie in the same folder, which may have another name than `results`. A name in `more` may be `*`, for `glob`.
    """
    names = re.escape(form.partition("/")[2]).replace(r"\{", "(?P<").replace(r"\}", ">[^/]+)")
    match = re.fullmatch(f"(?P<folder>.+)/{names}", Path(path).as_posix())
    return None if match is None else Path(match["folder"], other.partition("/")[2].format(**match.groupdict(), **more))
