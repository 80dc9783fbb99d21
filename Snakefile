# certflow: train, smooth, sample, certify, report. WHAT to run stands in config.yaml, HOW in profiles/.
from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.basedir}/config.yaml"


# Into how many jobs the stage-2 draws (and the smoothed predictions) of a model are cut; the counts do not depend on it (--set-scatter shards=8).
scattergather:
    shards=1,


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/denoise.smk"
include: "rules/predict.smk"
include: "rules/sample.smk"
include: "rules/certify.smk"
include: "rules/attack.smk"
include: "rules/estimate.smk"
include: "rules/report.smk"
include: "rules/knowledge.smk"


# Seconds of work on small files: on a cluster these run beside Snakemake itself, not in the queue.
localrules:
    all,
    plan_draws,
    merge_counts,
    merge_predictions,
    write_table,
    write_corruptions,
    write_estimate,
    plot_figures,
    write_report,
    measure_knowledge,
    write_diagnosis,


rule all:
    default_target: True
    input:
        inputs.pages(),
