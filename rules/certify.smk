# Radii from counts: no network, no GPU, seconds.


rule certify_radii:
    input:
        plan=rules.plan_draws.output.plan,
        counts=rules.merge_counts.output.counts,
    output:
        table=report(
            results.CERTIFICATE,
            caption="../docs/captions/certificate.rst",
            category="Certificates",
            labels={
                "method": "{method}",
                "noise": "{noise}",
                "certificate": "{certificate}",
                "seed": "{seed}",
            },
        ),
        record=f"results/certificates/{results.COUNTS}/{{certificate}}.json",
    log:
        f"results/logs/certify_radii/{results.COUNTS}/{{certificate}}.log",
    benchmark:
        f"results/benchmarks/certify_radii/{results.COUNTS}/{{certificate}}.tsv"
    conda:
        "../environment.yml"
    resources:
        mem=growing(2, "GB"),
        runtime=growing(10, "m"),
    params:
        spec=specs.certificate,
    script:
        "../workflow_scripts/certify_radii.py"
