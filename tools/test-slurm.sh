#!/bin/sh
# The workflow on a real one-node SLURM, started and stopped by the test. Installs Debian's packages where they are missing
# and that is possible; says so and stops where it is not.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE
if ! PATH="$PATH:/usr/sbin" command -v slurmctld >/dev/null || ! PATH="$PATH:/usr/sbin" command -v munged >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "test-slurm: skipped: SLURM is not installed, and installing slurm-wlm and munge needs root and apt-get"
        exit 0
    fi
    echo "test-slurm: installing slurm-wlm and munge"
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends slurm-wlm munge; } >/dev/null 2>&1; then
        echo "test-slurm: skipped: apt-get could not install slurm-wlm and munge"
        exit 0
    fi
elif [ "$(id -u)" != 0 ]; then
    echo "test-slurm: skipped: the daemons of SLURM need root"
    exit 0
fi
TEST_SLURM=now OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 exec .venv/bin/python -m pytest -q tests/integration/test_slurm.py "$@"
