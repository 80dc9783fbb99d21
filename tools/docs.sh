#!/bin/sh
# Build the documentation as a site, build/site/index.html, with search; it needs no server and no network once it is built.
# Sphinx has an environment of its own below .tools/, since the project itself does not need it.
set -eu
cd "$(dirname "$0")/.."
. tools/uv.sh
PLACE=.tools/site
if ! cmp -s tools/site/requirements.txt $PLACE/pins; then
    "$UV" venv -q --clear --python "$PYTHON" $PLACE
    "$UV" pip sync -q --python $PLACE/bin/python tools/site/requirements.txt
    cp tools/site/requirements.txt $PLACE/pins
fi
$PLACE/bin/python tools/site/pages.py build/pages
# A warning ends the build: a link that leads nowhere is one.
$PLACE/bin/sphinx-build -W --keep-going -q -E -c tools/site build/pages build/site
echo "documentation: build/site/index.html"
