#!/bin/sh
# Make .venv hold exactly what requirements.txt pins, and this project, editable; does nothing when it already does.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
"$PYTHON" - <<'CHECK'
import sys
if sys.version_info < (3, 11):
    sys.exit(f"certflow needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}; "
             "name another one: make env PYTHON=python3.12")
CHECK
# Packages, entry points and this script: where one of them changed, .venv is brought up to date.
WANTED=$("$PYTHON" -c "import hashlib; print(hashlib.sha256(b''.join(open(name, 'rb').read() for name in ('requirements.txt', 'pyproject.toml', 'tools/env.sh'))).hexdigest())")
if [ -x .venv/bin/snakemake ] && [ "$(cat .venv/pins 2>/dev/null)" = "$WANTED" ]; then
    exit 0
fi
. tools/uv.sh
echo "creating .venv from requirements.txt (once; some minutes on a slow line)"
[ -x .venv/bin/python ] || "$UV" venv -q --python "$PYTHON" .venv
"$UV" pip sync -q --python .venv/bin/python requirements.txt
"$UV" pip install -q --python .venv/bin/python --no-deps --no-build-isolation --editable .
echo "$WANTED" > .venv/pins
