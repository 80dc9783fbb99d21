# Denoisers: trained by themselves over a range of noise levels, or before a frozen classifier at the level to be certified.


rule train_denoiser:
    input:
        data=rules.prepare_data.output.manifest,
    output:
        model=DENOISER,
        training="results/denoisers/{dataset}/{denoiser}/seed{seed}/training.tsv",
    log:
        "results/logs/train_denoiser/{dataset}/{denoiser}/seed{seed}.log",
    benchmark:
        "results/benchmarks/train_denoiser/{dataset}/{denoiser}/seed{seed}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(24, "h"),
    params:
        spec=denoiser_spec,
    script:
        "../workflow_scripts/train_denoiser.py"


rule train_denoised:
    input:
        data=rules.prepare_data.output.manifest,
        parts=part_models,
        denoiser=denoiser_weights,
    output:
        model=WEIGHTS,
        training=report(
            TRAINING,
            caption="../docs/captions/training.rst",
            category="Training",
            labels={"method": "{method}", "noise": "{noise}", "seed": "{seed}"},
        ),
    log:
        f"results/logs/train_denoised/{MODEL}.log",
    benchmark:
        f"results/benchmarks/train_denoised/{MODEL}.tsv"
    wildcard_constraints:
        method=names(STUDY.made_by("train_denoised")),
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(24, "h"),
    params:
        spec=model_spec,
        roles=part_roles,
    script:
        "../workflow_scripts/build_denoised.py"


# The same from parts that are there: nothing is trained, so there is no log of a training.
use rule train_denoised as compose_denoised with:
    output:
        model=WEIGHTS,
    log:
        f"results/logs/compose_denoised/{MODEL}.log",
    benchmark:
        f"results/benchmarks/compose_denoised/{MODEL}.tsv"
    wildcard_constraints:
        method=names(STUDY.made_by("compose_denoised")),
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(1, "h"),
