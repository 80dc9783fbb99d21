# What an experiment's table will be, from a few draws of each image: estimated, never certified, and without any certificate.


rule write_estimate:
    input:
        plans=inputs.pilot_plans,
        counts=remaking(inputs.pilot_counts),
    output:
        tex="results/estimates/{experiment}.tex",
        tsv=results.ESTIMATED,
        record="results/estimates/{experiment}.json",
        md=report(
            "results/estimates/{experiment}.md",
            caption="../docs/captions/estimate.rst",
            category="Tables",
            labels={"experiment": "{experiment}, estimated, not certified"},
        ),
        figure=multiext(
            "results/figures/{experiment}/estimate", ".pdf", ".png", ".json"
        ),
        svg=report(
            results.ESTIMATED_CURVES,
            caption="../docs/captions/estimate.rst",
            category="Figures",
            labels={
                "experiment": "{experiment}",
                "figure": "estimated, not certified",
            },
        ),
    log:
        "results/logs/write_estimate/{experiment}.log",
    benchmark:
        "results/benchmarks/write_estimate/{experiment}.tsv"
    wildcard_constraints:
        experiment=names(
            name
            for name, experiment in STUDY.experiments.items()
            if experiment.preview
        ),
    conda:
        "../environment.yml"
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.estimate,
    script:
        "../workflow_scripts/write_estimate.py"
