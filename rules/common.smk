# The only file with Python functions: what each stage reads, and what its result depends on.
import re
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir).resolve() / "lib"))

from certflow.config import load
from certflow.config.parse import sections
from certflow.config.text import read_text
from certflow.data.corruptions.naming import copies_parts
from certflow.data.source import data_root
from certflow.errors import CertflowError
from certflow.files.paths import made_here
from certflow.workflow import expose
from certflow.workflow.leftovers import unseen
from certflow.workflow.shards import Wanted, shard_names
from certflow.workflow.started import dag_settings
from certflow.workflow.targets import concerned

expose(Path(workflow.basedir) / "lib")
read_text(config, workflow.config_settings.config)

# Jobs of this workflow parse it again, on machines that may lack what the workflow was started with.
STARTED = dag_settings() if workflow.is_main_process else None
# Where a workflow that uses this one as a module puts its files.
PLACE = workflow.modifier.path_modifier
# Last results that nobody would find to be of other settings; see `remake`.
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
    )
except CertflowError as error:
    raise WorkflowError(str(error)) from None

# Jobs and captions look entries up here: with the settings of their recipes, and lists instead of their names.
config.update(sections(config, []))

# A path is the sentence of how the file was made: each stage keeps its parents' names and adds its own.
MODEL = "{dataset}/{model}/{method}/{noise}/seed{seed}"
COUNTS = f"{MODEL}/{{images}}/{{sampler}}"
PREDICTIONS = "{dataset}/{model}/{predictions}"
VOTES = f"results/predictions/{PREDICTIONS}.npz"
VOTES_SHARD = f"results/predictions/{PREDICTIONS}/shards/{{scatteritem}}.npz"
PLAN = f"results/plan/{COUNTS}.tsv"
SHARD = f"results/sample/{COUNTS}/shards/{{scatteritem}}.npz"
WEIGHTS = f"results/train/{MODEL}/model.safetensors"
TRAINING = f"results/train/{MODEL}/training.tsv"
TRAINING_RECORD = f"results/train/{MODEL}/training.json"
DENOISER = "results/denoisers/{dataset}/{denoiser}/seed{seed}/denoiser.safetensors"
CERTIFICATE = f"results/certificates/{COUNTS}/{{certificate}}.tsv"
ATTACK = f"{MODEL}/{{images}}/{{attack}}"


def here(path):
    """Where a file of this workflow lies, also when it is used as a module."""
    return Path(PLACE.replace_prefix(path))


def own(path):
    """A file of the user's: it stays where it is when this workflow is used as a module, which moves the results."""
    return path if made_here(path) else local(path)


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
    experiment=names(STUDY.experiments),


def growing(amount, unit):
    """A need that grows with every attempt, such as 8GB, then 16GB: a job killed for asking too little asks for more."""
    return lambda wildcards, attempt: f"{amount * attempt}{unit}"


def targets():
    """Table, figures and report page of the experiments listed under `targets`."""
    return [f"results/reports/{name}.html" for name in STUDY.targets]


def model_names(w):
    """The names in the path of a model, in their order."""
    return w.dataset, w.model, w.method, w.noise, int(w.seed)


def ingredients(w):
    """What a model is made from besides the images, by what it is for; roles of `parts` as in `part_roles`."""
    tables = {
        name: VOTES.format(dataset=w.dataset, model=w.model, predictions=entry)
        for name, entry in STUDY.tables(w.method, w.dataset, w.noise).items()
    }
    brought = STUDY.checkpoint(w.method, w.dataset, w.noise, int(w.seed))
    return {
        **tables,
        **({} if brought is None else {"checkpoint": own(brought)}),
        "parts": part_models(w),
        "denoiser": denoiser_weights(w),
    }


def base_classifier(w):
    """The model whose votes smoothed predictions are."""
    entry = STUDY.predictions[w.predictions]
    named = {"method": entry.method, "noise": entry.noise, "seed": entry.seed}
    return WEIGHTS.format(dataset=w.dataset, model=w.model, **named)


def part_models(w):
    """The models that another one is made from, in the order of their roles."""
    references = STUDY.references(*model_names(w))
    return [WEIGHTS.format(dataset=w.dataset, **vars(of)) for of in references.values()]


def denoiser_weights(w):
    """Where the denoiser in a model comes from: its own training, files of the user's, or nothing."""
    name = STUDY.own_denoiser(w.dataset, w.method, w.noise)
    if name is None:
        return []
    if STUDY.denoisers[name].train is not None:
        return [DENOISER.format(dataset=w.dataset, denoiser=name, seed=w.seed)]
    return [own(path) for path in STUDY.denoisers[name].files()]


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
    model, plan = here(WEIGHTS.format(**w)), here(PLAN.format(**w))
    return shards(
        "sample_counts", SHARD, w, spec=counts_spec(w), model=model, plan=plan
    )


def prediction_shards(w):
    """The shards of smoothed predictions that are merged."""
    return shards(
        "smooth_predictions",
        VOTES_SHARD,
        w,
        spec=predictions_spec(w),
        model=here(base_classifier(w)),
    )


def remake():
    """Have Snakemake make those last results again that it never saw finished, if it makes or needs them at all."""
    workflow.dag.forcefiles.update(UNSEEN)


def certificates(w):
    """Every certificate table of an experiment."""
    remake()
    return [CERTIFICATE.format(**vars(run)) for run in STUDY.runs(w.experiment)]


def attack_tables(w):
    """Every attack table of an experiment."""
    runs = STUDY.attack_runs(w.experiment)
    return [f"results/attacks/{ATTACK}.tsv".format(**vars(run)) for run in runs]


def corrupted_certificates(w):
    """Every certificate table of the corrupted copies of an experiment's images."""
    return [
        CERTIFICATE.format(**vars(run)) for run in STUDY.corrupted_runs(w.experiment)
    ]


def corruption_table(w):
    """The table of corrupted copies, for experiments that have one."""
    path = f"results/corruptions/{w.experiment}.tsv"
    return {"corruptions": path} if STUDY.experiments[w.experiment].corruptions else {}


def corruption_sources(w):
    """The files of one corruption, where it is not computed."""
    files = STUDY.corruptions[w.corruptions].files(w.corruption)
    return [own(str(path)) for path in files]


def copies_manifest(w):
    """The manifest of the corrupted copies that `images` names, if it names any."""
    _, entry, name = copies_parts(w.images)
    if entry is None:
        return {}
    return {"corrupted": f"results/data/{w.dataset}/{entry}/{name}.json"}


def training_logs(w):
    """The training log of every model of an experiment that was trained here."""
    return [TRAINING.format(**vars(run)) for run in STUDY.trained_runs(w.experiment)]


def foreign(w):
    """Per-image results made elsewhere that an experiment lists.

    A path with braces is left out, since Snakemake would take them for wildcards: `table_spec` holds its content's digest.
    """
    paths = [result.path for result in STUDY.experiments[w.experiment].foreign]
    return [own(path) for path in paths if "{" not in path]


def dataset_spec(w):
    return STUDY.dataset_spec(w.dataset)


def source_state(w):
    """Changes when the source files do, for datasets whose files have no known checksums."""
    spec = STUDY.datasets[w.dataset]
    return spec.source_state(data_root(spec))


def model_spec(w):
    return STUDY.model_spec(*model_names(w))


def predictions_spec(w):
    return STUDY.predictions_spec(w.dataset, w.model, w.predictions)


def denoiser_spec(w):
    return STUDY.denoiser_spec(w.dataset, w.denoiser, int(w.seed))


def part_roles(w):
    return list(STUDY.references(*model_names(w)))


def denoising_models(w):
    """The models of an experiment whose denoised images are shown."""
    remake()
    return [WEIGHTS.format(**vars(run)) for run in STUDY.denoised_runs(w.experiment)]


def experiment_data(w):
    """The manifest of an experiment's dataset."""
    return f"results/data/{STUDY.experiments[w.experiment].dataset}.json"


def denoised_pictures(w):
    """The figure of denoised images, for experiments that have any."""
    pictures = f"results/figures/{w.experiment}/denoised.svg"
    return [pictures] if STUDY.denoised_runs(w.experiment) else []


def strip_spec(w):
    return STUDY.strip_spec(w.experiment)


def presample_spec(w):
    return STUDY.presample_spec(*model_names(w), w.images, w.sampler)


def counts_spec(w):
    return STUDY.counts_spec(*model_names(w), w.images, w.sampler)


def certificate_spec(w):
    return STUDY.certificate_spec(*model_names(w), w.images, w.sampler, w.certificate)


def attack_spec(w):
    return STUDY.attack_spec(*model_names(w), w.images, w.attack)


def corruption_spec(w):
    return STUDY.corruption_spec(w.dataset, w.corruptions, w.corruption)


def corruption_table_spec(w):
    return STUDY.corruption_table_spec(w.experiment)


def table_spec(w):
    return STUDY.table_spec(w.experiment)


def figure_spec(w):
    return STUDY.figure_spec(w.experiment)


def report_spec(w):
    return STUDY.report_spec(w.experiment)
