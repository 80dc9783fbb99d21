# Class counts under noise: a few draws to choose the class and the budget, a plan, then the draws that are certified.


rule presample_counts:
    input:
        unpack(inputs.copies_manifest),
        data=rules.prepare_data.output.manifest,
        model=rules.train_model.output.model,
    output:
        counts=results.FIRST_COUNTS,
    log:
        f"results/logs/presample_counts/{results.COUNTS}.log",
    benchmark:
        f"results/benchmarks/presample_counts/{results.COUNTS}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(1, "h"),
    params:
        spec=specs.presample,
    script:
        "../workflow_scripts/presample_counts.py"


rule plan_draws:
    input:
        counts=rules.presample_counts.output.counts,
    output:
        plan=results.PLAN,
        record=f"results/plan/{results.COUNTS}.json",
    log:
        f"results/logs/plan_draws/{results.COUNTS}.log",
    benchmark:
        f"results/benchmarks/plan_draws/{results.COUNTS}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.counts,
    script:
        "../workflow_scripts/plan_draws.py"


rule sample_counts:
    input:
        unpack(inputs.copies_manifest),
        data=rules.prepare_data.output.manifest,
        model=rules.train_model.output.model,
        plan=rules.plan_draws.output.plan,
    output:
        counts=results.SHARD,
    log:
        f"results/logs/sample_counts/{results.COUNTS}/{{scatteritem}}.log",
    benchmark:
        f"results/benchmarks/sample_counts/{results.COUNTS}/{{scatteritem}}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(24, "h"),
    params:
        spec=specs.counts,
    script:
        "../workflow_scripts/sample_counts.py"


rule merge_counts:
    input:
        shards=count_shards,
        plan=rules.plan_draws.output.plan,
    output:
        counts=results.COUNTED,
    log:
        f"results/logs/merge_counts/{results.COUNTS}.log",
    benchmark:
        f"results/benchmarks/merge_counts/{results.COUNTS}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.counts,
    script:
        "../workflow_scripts/merge_counts.py"
