# Weights: trained here by a method, put together from parts, or imported from a user's own checkpoint. One script makes them all;
# the rules differ in what they write and in how long they may take.


rule train_model:
    input:
        unpack(inputs.ingredients),
        data=rules.prepare_data.output.manifest,
    output:
        model=results.WEIGHTS,
        training=report(
            results.TRAINING,
            caption="../docs/captions/training.rst",
            category="Training",
            labels={"method": "{method}", "noise": "{noise}", "seed": "{seed}"},
        ),
        record=results.TRAINING_RECORD,
    log:
        f"results/logs/train_model/{results.MODEL}.log",
    benchmark:
        f"results/benchmarks/train_model/{results.MODEL}.tsv"
    wildcard_constraints:
        method=names(made_by(STUDY, "train_model")),
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(24, "h"),
    params:
        spec=specs.model,
        roles=inputs.part_roles,
    script:
        "../workflow_scripts/make_model.py"


use rule train_model as import_model with:
    output:
        model=results.WEIGHTS,
    log:
        f"results/logs/import_model/{results.MODEL}.log",
    benchmark:
        f"results/benchmarks/import_model/{results.MODEL}.tsv"
    wildcard_constraints:
        method=names(made_by(STUDY, "import_model")),
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(30, "m"),
