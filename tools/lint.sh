#!/bin/sh
# Formatters, linters and the type checker, silent when there is nothing to say. `tools/lint.sh --fix` formats instead of complaining.
set -eu
cd "$(dirname "$0")/.."
. tools/uv.sh
if [ "${1:-}" = --fix ]; then
    .venv/bin/ruff check -q --fix .
    .venv/bin/ruff format -q .
    "$UV" tool run -q snakefmt==2.1.0 Snakefile rules
else
    .venv/bin/ruff check -q .
    .venv/bin/ruff format -q --check .
    "$UV" tool run -q snakefmt==2.1.0 --check Snakefile rules
fi
.venv/bin/ty check -q
.venv/bin/snakemake --lint
PYTHONPATH=lib .venv/bin/python -m certflow.config.generated --check
