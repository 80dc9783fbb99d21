# Source images, read once, verified, and described by a manifest; the decoded copy lies outside results/.


rule prepare_data:
    output:
        manifest=results.DATA,
        state=results.DATA_STATE,
    log:
        "results/logs/prepare_data/{dataset}.log",
    benchmark:
        "results/benchmarks/prepare_data/{dataset}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
    params:
        spec=specs.dataset,
        source=inputs.source_state,
    script:
        "../workflow_scripts/prepare_data.py"


rule prepare_copies:
    input:
        sources=inputs.corruption_sources,
        data=rules.prepare_data.output.manifest,
    output:
        manifest=results.COPIES,
    log:
        "results/logs/prepare_copies/{dataset}/{corruptions}/{corruption}.log",
    benchmark:
        "results/benchmarks/prepare_copies/{dataset}/{corruptions}/{corruption}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
    params:
        spec=specs.corruption,
    script:
        "../workflow_scripts/prepare_copies.py"
