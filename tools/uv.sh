# Sourced: sets UV to a uv binary, installing a pinned one under .tools/ where the machine has none.
UV_VERSION=0.13.8
PYTHON=${PYTHON:-python3}
if command -v uv >/dev/null 2>&1; then
    UV=uv
else
    UV=.tools/uv/bin/uv
    if [ ! -x "$UV" ]; then
        echo "installing uv $UV_VERSION into .tools/uv"
        "$PYTHON" -m venv .tools/uv || "$PYTHON" -m venv --without-pip .tools/uv
        if .tools/uv/bin/python -m pip --version >/dev/null 2>&1; then
            .tools/uv/bin/python -m pip install -q --disable-pip-version-check "uv==$UV_VERSION"
        else # a Python without ensurepip: the machine's pip can still install into the environment
            "$PYTHON" -m pip --python .tools/uv/bin/python install -q --disable-pip-version-check "uv==$UV_VERSION"
        fi
    fi
fi
