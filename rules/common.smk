# The only file with Python functions: the configuration, checked, and what only Snakemake knows of a run.
import re
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir).resolve() / "lib"))

from certflow.config import load
from certflow.config.parse import sections
from certflow.config.text import read_text
from certflow.errors import CertflowError
from certflow.files import results
from certflow.files.paths import made_here
from certflow.workflow import expose
from certflow.workflow.inputs import Inputs
from certflow.workflow.leftovers import unseen
from certflow.workflow.making import made_by
from certflow.workflow.place import unusable
from certflow.workflow.shards import Wanted, shard_names
from certflow.workflow.specs import Specs
from certflow.workflow.started import dag_settings
from certflow.workflow.targets import concerned, misspelt

expose(Path(workflow.basedir) / "lib")
read_text(config, workflow.config_settings.config)

# Jobs of this workflow parse it again, on machines that may lack what the workflow was started with.
STARTED = dag_settings() if workflow.is_main_process else None
# Where a workflow that uses this one as a module puts its files.
PLACE = workflow.modifier.path_modifier
# Last results that nobody would find to be of other settings; see `remaking`.
UNSEEN = [] if STARTED is None else unseen()

try:
    STUDY = load(
        config,
        " + ".join(map(str, ["config.yaml", *workflow.overwrite_configfiles])),
        concerned=(
            None
            if STARTED is None
            else (lambda study: concerned(study, STARTED.targets))
        ),
        files=[] if STARTED is None else dict.fromkeys(workflow.configfiles),
    )
except CertflowError as error:
    raise WorkflowError(str(error)) from None

for line in unusable(workflow.basedir, sys.executable):
    raise WorkflowError(line)

# As a module in a folder of its own, results without that folder are another workflow's.
if STARTED is not None and PLACE.replace_prefix("results/") == "results/":
    for line in misspelt(STUDY, STARTED.targets):
        raise WorkflowError(line)

# Jobs and captions look entries up here: with the settings of their recipes, and lists instead of their names.
config.update(sections(config, []))


def own(path):
    """A file of the user's: it stays where it is when this workflow is used as a module, which moves the results."""
    return path if made_here(path) else local(path)


def here(path):
    """Where a file of this workflow lies, also when it is used as a module."""
    return Path(PLACE.replace_prefix(path))


# What each stage reads, and what its result depends on.
inputs = Inputs(STUDY, own, here)
specs = Specs(STUDY)


def names(entries):
    """A regular expression that matches exactly these entry names (and nothing at all if there are none)."""
    return "|".join(map(re.escape, entries)) or "(?!)"


wildcard_constraints:
    dataset=names(STUDY.datasets),
    model=names(STUDY.models),
    denoiser=names(STUDY.denoisers),
    method=names(STUDY.methods),
    noise=names(STUDY.noises),
    seed=r"\d+",
    images=names(STUDY.image_sets()),
    corruptions=names(STUDY.corruptions),
    corruption=r"\w+",
    predictions=names(STUDY.predictions),
    sampler=names(STUDY.samplers),
    certificate=names(STUDY.certificates),
    attack=names(STUDY.attacks),
    knowledge=names(STUDY.knowledge),
    experiment=names(STUDY.experiments),
    diagnosis=names(STUDY.diagnoses),


def growing(amount, unit):
    """A need that grows with every attempt, such as 8GB, then 16GB: a job killed for asking too little asks for more."""
    return lambda wildcards, attempt: f"{amount * attempt}{unit}"


def shards(rule, pattern, w, **wanted):
    """The shards to be merged: those that are there or were begun, else as many as --set-scatter says (`certflow.workflow.shards`).

    rule: which makes them; where its jobs are forced to run again, the draws are cut anew.
    """
    asked, path = gather.shards("{scatteritem}"), partial(pattern.format, **w)
    again = workflow.dag_settings.forcerun
    if not (
        workflow.dag_settings.forceall or any(str(r).endswith(rule) for r in again)
    ):
        stated = "shards" in workflow.resource_settings.overwrite_scatter
        folder = here(path(scatteritem="x")).parent
        asked = shard_names(folder, len(asked), Wanted(**wanted), insist=stated)
    return [path(scatteritem=name) for name in asked]


def count_shards(w):
    """The shards of stage 2 that are merged."""
    model, plan = here(results.WEIGHTS.format(**w)), here(results.PLAN.format(**w))
    return shards(
        "sample_counts", results.SHARD, w, spec=specs.counts(w), model=model, plan=plan
    )


def prediction_shards(w):
    """The shards of smoothed predictions that are merged."""
    model = here(inputs.base_classifier(w))
    return shards(
        "smooth_predictions",
        results.VOTES_SHARD,
        w,
        spec=specs.predictions(w),
        model=model,
    )


def remaking(files):
    """The input function `files` of a last result. It also has Snakemake make those last results again that it never saw finished,
    if it makes or needs them at all."""

    def found(w):
        workflow.dag.forcefiles.update(UNSEEN)
        return files(w)

    return found
