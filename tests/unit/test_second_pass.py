"""CI's second pass, with the kernels of a CPU without bfloat16, leaves out what cannot tell such a CPU from another one."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OTHER = {
    "tests/integration": "the workflow: its stages are tested one by one",
    "tests/unit/test_mutants.py": "the suite itself",
    "tests/unit/test_extending.py": "the suite itself",
    "tests/unit/test_imports.py": "what is imported",
    "tests/unit/test_cuda_paths.py": "tensors that have no values",
    "tests/unit/test_result_pages.py": "numbers of jobs",
}
"""What may use torch and be left out, and what it is about."""


def written(path: Path) -> str:
    """A test file, and what it takes from the files beside it."""
    text = path.read_text()
    beside = [path.with_name(f"{name}.py") for name in re.findall(r"(?m)^from (\w+) import", text)]
    return "".join([text, *(written(one) for one in beside if one.is_file())])


def test_what_the_second_pass_leaves_out_computes_nothing_with_torch():
    names = re.search(r"(?s)for name in (.*?); do", (ROOT / ".ci/run").read_text())[1].replace("\\\n", " ").split()
    assert set(OTHER) <= set(names)
    for name in set(names) - set(OTHER):
        paths = sorted((ROOT / name).rglob("*.py")) if (ROOT / name).is_dir() else sorted(ROOT.glob(name))
        assert paths, f".ci/run: {name} is no file"
        for path in paths:
            assert not re.search(r"\b(torch|SmoothedClassifier)\b", written(path)), f".ci/run: {path} uses torch"
