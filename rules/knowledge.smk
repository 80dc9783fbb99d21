# Knowledge continuity: what every layer of a model gives at random points, the tables of its layers, and the page of a diagnosis.


rule extract_features:
    input:
        data=rules.prepare_data.output.manifest,
        model=rules.train_model.output.model,
    output:
        features=results.FEATURES,
    log:
        f"results/logs/extract_features/{results.KNOWLEDGE}.log",
    benchmark:
        f"results/benchmarks/extract_features/{results.KNOWLEDGE}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(1, "h"),
    params:
        spec=specs.features,
    script:
        "../workflow_scripts/extract_features.py"


rule measure_knowledge:
    input:
        features=rules.extract_features.output.features,
    output:
        volatility=results.VOLATILITY,
        volatility_record=f"results/knowledge/{results.KNOWLEDGE}/volatility.json",
        certificate=results.LAYERS_CERTIFICATE,
        certificate_record=f"results/knowledge/{results.KNOWLEDGE}/certificate.json",
    log:
        f"results/logs/measure_knowledge/{results.KNOWLEDGE}.log",
    benchmark:
        f"results/benchmarks/measure_knowledge/{results.KNOWLEDGE}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(4, "GB"),
        runtime=growing(1, "h"),
    params:
        spec=specs.knowledge,
    script:
        "../workflow_scripts/measure_knowledge.py"


rule write_diagnosis:
    input:
        volatility=remaking(inputs.volatility_tables),
        certificate=inputs.layers_certificates,
        attacks=inputs.diagnosis_attacks,
        compared=inputs.compared_tables,
        certificates=inputs.compared_certificates,
    output:
        page=report(
            results.DIAGNOSIS,
            caption="../docs/captions/diagnosis.rst",
            category="Knowledge continuity",
            labels={"diagnosis": "{diagnosis}"},
        ),
        figures=directory("results/diagnoses/{diagnosis}"),
    log:
        "results/logs/write_diagnosis/{diagnosis}.log",
    benchmark:
        "results/benchmarks/write_diagnosis/{diagnosis}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.diagnosis,
    script:
        "../workflow_scripts/write_diagnosis.py"
