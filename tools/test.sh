#!/bin/sh
# All tests, on as many processes as there are cores, one thread each, a file at a time: what a file sets up is set up once.
# Folder by folder: by default files of few tests come last, and the longest are among them. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE # without stored bytecode every import of torch takes two to three times as long
OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 exec .venv/bin/python -m pytest -q -n "${TEST_PROCESSES:-auto}" --dist loadfile --no-loadscope-reorder "$@"
