"""From the mapping that was read to a checked study."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from certflow.config.outside import outside_problems
from certflow.config.parse import parsed, sections, targets
from certflow.config.problems import study_problems
from certflow.config.study import Study
from certflow.errors import ConfigError
from certflow.files.yamlfile import read_otherwise


def load(
    raw: Mapping[str, Any],
    source: str = "config.yaml",
    concerned: Callable[[Study], Iterable[str]] | None = None,
    files: Iterable[str | Path] = (),
) -> Study:
    """Check a configuration and resolve it, or raise one `ConfigError` with every problem found.

    raw: the mapping as read from YAML, overlays already merged. source: how messages call the file. concerned: says which
    experiments are to run; where it is given, the files that they need and the devices of the environment are checked, too.
    files: YAML files that `raw` was read from by a reader that takes a key twice, and numbers in base 8 and 60.
    """
    problems = [line for path in files for line in read_otherwise(path)]
    written = sections(raw, problems)
    entries = parsed(written, problems)
    study = Study(targets=targets(raw, problems), **entries)
    problems += study_problems(study, written)
    if concerned is not None:
        problems += outside_problems(study, concerned, problems)
    if problems:
        raise ConfigError(problems, source)
    return study
