"""What an entry point must not import: a torch start costs seconds on every job, torchvision and timm seconds more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "torchvision", "timm", "matplotlib", "scipy.stats", "sklearn")


def loaded(module: str) -> set[str]:
    """Which heavy packages are really loaded after importing a module (a lazy module that nobody touched is not)."""
    code = (
        f"import sys, {module}\n"
        "from importlib.util import _LazyModule\n"
        "import json\n"
        f"print(json.dumps([n for n in {HEAVY!r} if n in sys.modules and not isinstance(sys.modules[n], _LazyModule)]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(result.stdout))


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("lib.config", set()),
        ("lib.workflow.job", set()),
        ("lib.sampling.plan", set()),
        ("lib.sampling.merge", set()),
        ("lib.sampling.merge_predictions", set()),
        ("lib.certify.stage", set()),
        ("lib.report.tables", set()),
        ("lib.report.stage", {"matplotlib"}),
        ("lib.training.stage", {"torch"}),
        ("lib.sampling.stage", {"torch"}),
    ],
)
def test_entry_points_import_only_what_they_need(module, allowed):
    assert loaded(module) <= allowed
