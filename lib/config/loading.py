"""From the mapping that was read to a checked study."""

from collections.abc import Mapping
from typing import Any

from lib.config.parse import parsed, sections, targets
from lib.config.problems import study_problems
from lib.config.study import Study
from lib.errors import ConfigError


def load(raw: Mapping[str, Any], source: str = "config.yaml") -> Study:
    """Check a configuration and resolve it, or raise one `ConfigError` with every problem found.

    raw: the mapping as read from YAML, overlays already merged. source: how messages call the file.
    """
    problems: list[str] = []
    written = sections(raw, problems)
    entries = parsed(written, problems)
    study = Study(targets=targets(raw, problems), **entries)
    problems += study_problems(study, written)
    if problems:
        raise ConfigError(problems, source)
    return study
