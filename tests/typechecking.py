"""Which modules have their annotations checked in the tests, and how; no test in here."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""A decorator that checks arguments and results at every call. Whole numbers are numbers too."""
CHECKED = (
    "certflow.data.augmentation",
    "certflow.training.losses",
)
"""Modules and packages of plain functions on arrays. Left out are those that torch traces (the noise, networks), which
sees the checks as part of the function, and those that say `np.ndarray` where a number is as good."""
