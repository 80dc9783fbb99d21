#!/bin/sh
# Everything that only a GPU can tell, in nine minutes, the most valuable first: the tests marked gpu, sampling against the field's loop,
# all outcomes of splitting noise, training steps, the cost of a table, MNIST by the papers' schedules. Run it again and it goes on with
# what is left.
# results/gpu/gpu.json has the numbers, results/gpu/gpu.md the page. DEVICE=cpu tries it at toy sizes. See docs/performance.md.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE # without stored bytecode every import of torch takes two to three times as long
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
fi
PYTHONPATH="lib:.${PYTHONPATH:+:$PYTHONPATH}" exec "$PYTHON" -m tools.gpu --device "${DEVICE:-cuda}" "$@"
