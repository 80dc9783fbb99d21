# Smoothed predictions: votes of a base classifier on every training image, which some methods learn from.


rule smooth_predictions:
    input:
        data=rules.prepare_data.output.manifest,
        model=inputs.base_classifier,
    output:
        counts=results.VOTES_SHARD,
    log:
        f"results/logs/smooth_predictions/{results.PREDICTIONS}/{{scatteritem}}.log",
    benchmark:
        f"results/benchmarks/smooth_predictions/{results.PREDICTIONS}/{{scatteritem}}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(24, "h"),
    params:
        spec=specs.predictions,
    script:
        "../workflow_scripts/smooth_predictions.py"


rule merge_predictions:
    input:
        shards=prediction_shards,
    output:
        predictions=results.VOTES,
    log:
        f"results/logs/merge_predictions/{results.PREDICTIONS}.log",
    benchmark:
        f"results/benchmarks/merge_predictions/{results.PREDICTIONS}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(4, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.predictions,
    script:
        "../workflow_scripts/merge_predictions.py"
