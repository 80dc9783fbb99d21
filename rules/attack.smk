# Attacks on trained models: what certificates are measured against, from above.


rule attack_model:
    input:
        data=rules.prepare_data.output.manifest,
        model=rules.train_model.output.model,
    output:
        table=results.ATTACKED,
        record=f"results/attacks/{results.ATTACK}.json",
    log:
        f"results/logs/attack_model/{results.ATTACK}.log",
    benchmark:
        f"results/benchmarks/attack_model/{results.ATTACK}.tsv"
    wildcard_constraints:
        images=names(STUDY.images),
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(24, "h"),
    params:
        spec=specs.attack,
    script:
        "../workflow_scripts/attack_model.py"
