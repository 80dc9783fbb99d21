"""So few draws that no image could get a radius, even if every one is a hit, are refused before any of them is made."""

import numpy as np
import pandas as pd
import pytest

from certflow.certify.base import Drawn, pairing_problems
from certflow.kinds.registry import spec_class
from certflow.noise import Gaussian
from certflow.stats import LARGEST_N

NOISE = Gaussian(sigma=0.5)
INSIDE = {"kind": "inscribed", "norm": "linf"}
FIXED = [
    ({"kind": "neyman_pearson"}, 10),
    ({"kind": "neyman_pearson", "bound_form": "two"}, 11),
    ({"kind": "neyman_pearson", "alpha": 0.05}, 5),
    ({"kind": "anytime"}, 12),
    ({"kind": "anytime", "alpha": 0.05}, 6),
    ({**INSIDE, "of": {"kind": "neyman_pearson"}}, 10),
    ({**INSIDE, "of": {"kind": "anytime"}}, 12),
]
"""Certificates of draws of one law, and the fewest that certify something."""
OTHERS = [({"kind": "dsrs"}, "double", 12), ({"kind": "sequential"}, "decide", 10)]


def certificate_of(fields):
    return spec_class("certificate", fields["kind"])(sampler="s", **{k: v for k, v in fields.items() if k != "kind"})


def sampler_of(kind, n):
    return spec_class("sampler", kind)(**({"n_max": n, "look": 1} if kind == "decide" else {"n": n}))


@pytest.mark.parametrize(
    ("fields", "sampler", "least"), [*((fields, "fixed", least) for fields, least in FIXED), *OTHERS], ids=str
)
def test_fewer_draws_are_refused(fields, sampler, least):
    certificate = certificate_of(fields)
    alpha = f"{certificate.alpha:g}"
    assert pairing_problems(certificate, NOISE, sampler_of(sampler, least)) == []
    assert pairing_problems(certificate, NOISE, sampler_of(sampler, least - 1)) == [
        f"n={least - 1} draws can never certify at alpha={alpha}; at least n={least} are needed"
    ]


@pytest.mark.parametrize(("fields", "least"), FIXED, ids=str)
def test_the_fewest_draws_certify_where_all_are_hits_and_one_less_do_not(fields, least):
    for n in (least - 1, least):
        plan = pd.DataFrame({"idx": [7], "label": [0], "selected": [0], "k0": [1], "n0": [1], "n": [n]})
        table = certificate_of(fields).certify(Drawn(plan, np.array([[n, 0, 0]]), NOISE, dim=12))
        assert (table["radius"][0] > 0) == (n == least)


def test_more_draws_than_bounds_are_computed_for_are_refused():
    sampler = sampler_of("fixed", 1000).model_copy(update={"n": LARGEST_N + 1})  # as a kind without a limit may be
    assert pairing_problems(certificate_of({"kind": "anytime"}), NOISE, sampler) == [
        "n=100000001 draws are more than bounds are computed for; at most n=100000000"
    ]


def test_draws_of_both_laws_count_since_pooled_images_get_them_of_one():
    both = spec_class("sampler", "double")(n=LARGEST_N, n_q=1)
    for kind in ("dsrs", "neyman_pearson"):
        assert pairing_problems(certificate_of({"kind": kind}), NOISE, both) == [
            "n=100000001 draws are more than bounds are computed for; at most n=100000000"
        ]
