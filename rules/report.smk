# What a reader sees: the table, its figures, and a page that traces every number.


rule write_table:
    input:
        certificates=remaking(inputs.certificates),
        attacks=inputs.attack_tables,
        foreign=inputs.foreign,
    output:
        tex="results/tables/{experiment}.tex",
        tsv="results/tables/{experiment}.tsv",
        md=report(
            "results/tables/{experiment}.md",
            caption="../docs/captions/table.rst",
            category="Tables",
            labels={"experiment": "{experiment}"},
        ),
    log:
        "results/logs/write_table/{experiment}.log",
    benchmark:
        "results/benchmarks/write_table/{experiment}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.table,
    script:
        "../workflow_scripts/write_table.py"


rule plot_figures:
    input:
        certificates=remaking(inputs.certificates),
        attacks=inputs.attack_tables,
        foreign=inputs.foreign,
    output:
        curves=multiext(
            "results/figures/{experiment}/certificate_curves", ".pdf", ".png", ".json"
        ),
        curves_svg=report(
            "results/figures/{experiment}/certificate_curves.svg",
            caption="../docs/captions/certificate_curves.rst",
            category="Figures",
            labels={"experiment": "{experiment}", "figure": "certified accuracy"},
        ),
        p_a=multiext("results/figures/{experiment}/p_a", ".pdf", ".png", ".json"),
        p_a_svg=report(
            "results/figures/{experiment}/p_a.svg",
            caption="../docs/captions/p_a.rst",
            category="Figures",
            labels={"experiment": "{experiment}", "figure": "distribution of p_A"},
        ),
        cost=multiext("results/figures/{experiment}/cost", ".pdf", ".png", ".json"),
        cost_svg=report(
            "results/figures/{experiment}/cost.svg",
            caption="../docs/captions/cost.rst",
            category="Figures",
            labels={"experiment": "{experiment}", "figure": "what it costs"},
        ),
    log:
        "results/logs/plot_figures/{experiment}.log",
    benchmark:
        "results/benchmarks/plot_figures/{experiment}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.figure,
    script:
        "../workflow_scripts/plot_figures.py"


rule write_corruptions:
    input:
        certificates=remaking(inputs.certificates),
        copies=inputs.corrupted_certificates,
    output:
        tex="results/corruptions/{experiment}.tex",
        tsv=results.CORRUPTED,
        record="results/corruptions/{experiment}.json",
        md=report(
            "results/corruptions/{experiment}.md",
            caption="../docs/captions/corruptions.rst",
            category="Tables",
            labels={"experiment": "{experiment}, corrupted copies"},
        ),
    log:
        "results/logs/write_corruptions/{experiment}.log",
    benchmark:
        "results/benchmarks/write_corruptions/{experiment}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.corruption_table,
    script:
        "../workflow_scripts/write_corruptions.py"


rule draw_denoised:
    input:
        data=inputs.experiment_data,
        models=remaking(inputs.denoising_models),
    output:
        pictures=multiext(
            "results/figures/{experiment}/denoised", ".pdf", ".png", ".json"
        ),
        pictures_svg=report(
            results.DENOISED,
            caption="../docs/captions/denoised.rst",
            category="Figures",
            labels={"experiment": "{experiment}", "figure": "denoised images"},
        ),
    log:
        "results/logs/draw_denoised/{experiment}.log",
    benchmark:
        "results/benchmarks/draw_denoised/{experiment}.tsv"
    conda:
        "../environment.yml"
    resources:
        gpu=1,
        mem=growing(8, "GB"),
        runtime=growing(30, "m"),
    params:
        spec=specs.strip,
    script:
        "../workflow_scripts/draw_denoised.py"


rule write_report:
    input:
        unpack(inputs.corruption_table),
        certificates=remaking(inputs.certificates),
        attacks=inputs.attack_tables,
        foreign=inputs.foreign,
        training=inputs.training_logs,
        table=rules.write_table.output.tsv,
        curves=rules.plot_figures.output.curves_svg,
        p_a=rules.plot_figures.output.p_a_svg,
        cost=rules.plot_figures.output.cost_svg,
        denoised=inputs.denoised_pictures,
        estimate=inputs.estimate_files,
    output:
        page=report(
            results.REPORT,
            caption="../docs/captions/report.rst",
            category="Report pages",
            labels={"experiment": "{experiment}"},
        ),
    log:
        "results/logs/write_report/{experiment}.log",
    benchmark:
        "results/benchmarks/write_report/{experiment}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.report,
    script:
        "../workflow_scripts/write_report.py"
