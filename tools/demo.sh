#!/bin/sh
# Run the embedded experiment and show what came out.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE # without stored bytecode every import of torch takes two to three times as long
PATH="$PWD/.venv/bin:$PATH"
snakemake --cores all results/reports/digits.html
echo
cat results/tables/digits.md
echo
echo "table    results/tables/digits.tex  .md  .tsv"
echo "figures  results/figures/digits/certificate_curves.pdf  p_a.pdf  cost.pdf  (and .svg, .png)"
echo "report   results/reports/digits.html"
