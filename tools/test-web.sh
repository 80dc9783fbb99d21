#!/bin/sh
# The web application in a real browser: Debian's Chromium, driven by playwright. Installs what is missing where that is
# possible; says so and stops where it is not. `--pictures` instead takes the screenshots of docs/web.md.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE
browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
if ! browser >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "test-web: skipped: there is no Chromium, and installing it needs root and apt-get"
        exit 0
    fi
    echo "test-web: installing chromium"
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1; then
        echo "test-web: skipped: apt-get could not install chromium"
        exit 0
    fi
fi
if ! .venv/bin/python -c "import playwright, axe_playwright_python" 2>/dev/null; then
    . tools/uv.sh
    if ! "$UV" pip install -q --python .venv/bin/python -r tools/test-web.txt; then
        echo "test-web: skipped: the packages of tools/test-web.txt could not be installed"
        exit 0
    fi
fi
BROWSER=$(browser)
export BROWSER
if [ "${1:-}" = --pictures ]; then
    PYTHONPATH=lib exec .venv/bin/python tools/web_pictures.py
fi
OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 exec .venv/bin/python -m pytest -q -n 0 tests/web "$@"
