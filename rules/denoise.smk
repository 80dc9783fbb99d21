# Denoisers: trained by themselves over a range of noise levels, or before a frozen classifier at the level to be certified.


rule train_denoiser:
    input:
        data=rules.prepare_data.output.manifest,
    output:
        model=results.DENOISER,
        training="results/denoisers/{dataset}/{denoiser}/seed{seed}/training.tsv",
        record="results/denoisers/{dataset}/{denoiser}/seed{seed}/training.json",
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
        spec=specs.denoiser,
    script:
        "../workflow_scripts/train_denoiser.py"


use rule train_model as train_denoised with:
    log:
        f"results/logs/train_denoised/{results.MODEL}.log",
    benchmark:
        f"results/benchmarks/train_denoised/{results.MODEL}.tsv"
    wildcard_constraints:
        method=names(made_by(STUDY, "train_denoised")),


# The classifier behind such a denoiser instead, fine-tuned or trained anew.
use rule train_model as finetune_denoised with:
    log:
        f"results/logs/finetune_denoised/{results.MODEL}.log",
    benchmark:
        f"results/benchmarks/finetune_denoised/{results.MODEL}.tsv"
    wildcard_constraints:
        method=names(made_by(STUDY, "finetune_denoised")),


# The same from parts that are there: nothing is trained, so there is no log of a training.
use rule train_model as compose_denoised with:
    output:
        model=results.WEIGHTS,
    log:
        f"results/logs/compose_denoised/{results.MODEL}.log",
    benchmark:
        f"results/benchmarks/compose_denoised/{results.MODEL}.tsv"
    wildcard_constraints:
        method=names(made_by(STUDY, "compose_denoised")),
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(1, "h"),
