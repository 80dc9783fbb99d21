#!/bin/sh
# Resolve the dependencies of pyproject.toml to exact pins, and write the same pins of its direct dependencies into environment.yml for conda;
# and those of the documentation's site, which has an environment of its own.
set -eu
cd "$(dirname "$0")/.."
. tools/uv.sh
"$UV" pip compile -q --upgrade --universal --python-version 3.11 --no-annotate --no-header --extra dev pyproject.toml -o requirements.txt
"$UV" pip compile -q --upgrade --universal --python-version 3.11 --no-annotate --no-header tools/site/requirements.in -o tools/site/requirements.txt
.venv/bin/python tools/conda_pins.py
