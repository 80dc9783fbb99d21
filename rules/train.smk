# Weights: trained here by a method, or imported from a user's own checkpoint.


rule train_model:
    input:
        unpack(tables),
        unpack(start),
        data=rules.prepare_data.output.manifest,
    output:
        model=WEIGHTS,
        training=report(
            TRAINING,
            caption="../docs/captions/training.rst",
            category="Training",
            labels={"method": "{method}", "noise": "{noise}", "seed": "{seed}"},
        ),
    log:
        f"results/logs/train_model/{MODEL}.log",
    benchmark:
        f"results/benchmarks/train_model/{MODEL}.tsv"
    wildcard_constraints:
        method=names(STUDY.made_by("train_model")),
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(24, "h"),
    params:
        spec=model_spec,
    script:
        "../workflow_scripts/train_model.py"


rule import_model:
    input:
        data=rules.prepare_data.output.manifest,
        checkpoint=checkpoint_file,
    output:
        model=WEIGHTS,
    log:
        f"results/logs/import_model/{MODEL}.log",
    benchmark:
        f"results/benchmarks/import_model/{MODEL}.tsv"
    wildcard_constraints:
        method=names(STUDY.made_by("import_model")),
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(30, "m"),
    params:
        spec=model_spec,
    script:
        "../workflow_scripts/import_model.py"
