"""The configuration: named entries, checked all at once before anything runs, and combined by name into runs.

`load` turns the mapping that Snakemake read into a `Study`. Every problem is reported together, with its path in the file.
The `*_spec` methods give what each stage's result depends on, as plain JSON values with sorted keys: exactly that goes into a
rule's `params`, so that a change re-runs what it touches and nothing else.
"""

from certflow.config.loading import load
from certflow.config.records import RECORDS, SECTIONS, Experiment, Run
from certflow.config.study import Study

__all__ = ["RECORDS", "SECTIONS", "Experiment", "Run", "Study", "load"]
