"""What Snakemake was started with, known while it still reads the Snakefile."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snakemake.settings.types import DAGSettings


def dag_settings() -> "DAGSettings | None":
    """Targets and flags of the run that reads the Snakefile; None where no jobs are planned (`--lint`, `--list-rules`).

    `workflow.dag_settings` has them only after the Snakefile was read, too late to tell what is missing together with what is
    wrong in the configuration. Until then they are with the caller that has the Snakefile read in order to plan jobs.
    """
    from snakemake.api import DAGApi

    frame = sys._getframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, DAGApi):
            return caller.dag_settings
        frame = frame.f_back
    return None
