"""The law of p_A over images beside its lower bounds: near the true one, its band honest, left out where nothing is open."""

from dataclasses import replace

import numpy as np
import pytest
from report_samples import drawn_by, external_line, line
from scipy.special import ndtr

from certflow.kinds.registry import spec_class
from certflow.report.deconvolved import estimated_share
from certflow.report.p_a import draw_p_a
from certflow.report.settings import PlotSettings
from certflow.stats.deconvolution import GRID

MEAN, SPREAD = 1.2, 0.8
INSIDE = (GRID > -1) & (GRID < 3)


@pytest.mark.parametrize("n", [60, 1000])
def test_the_band_holds_the_true_law(n):
    share, error = estimated_share(line(images=2000, mean=MEAN, spread=SPREAD, n=n))
    true = ndtr((GRID - MEAN) / SPREAD)
    assert np.abs(share - true)[INSIDE].max() < 0.04
    assert (np.abs(share - true) <= 2.5 * 1.96 * error + 0.005)[INSIDE].all()
    assert (np.diff(share) >= 0).all() and share[-1] == pytest.approx(1.0)


def test_images_that_stage_1_left_out_are_not_taken_for_the_others():
    """A fifth of the images gets no draw of stage 2, and those are the ones near or below 1/2."""
    ours = drawn_by(line(images=2000), spec_class("sampler", "planned").small())
    table, random = ours.seeds[0].table, np.random.default_rng(5)
    p = ndtr(random.normal(0.8, 1.0, len(table)))
    k0 = random.binomial(100, p)
    n = np.where(k0 > 55, 1000, 0)
    ours = replace(
        ours, seeds=(replace(ours.seeds[0], table=table.assign(n0=100, k0=k0, n=n, k=random.binomial(n, p))),)
    )
    share, error = estimated_share(ours)
    true = (p[:, None] <= ndtr(GRID)).mean(axis=0)
    assert (np.abs(share - true) <= 2.5 * 1.96 * error + 0.01)[INSIDE].all()


def test_lower_bounds_lie_to_its_left():
    ours = line(images=2000, mean=MEAN, spread=SPREAD, n=60)
    share, _ = estimated_share(ours)
    bounds = (ours.seeds[0].table["p_lower"].to_numpy()[:, None] <= ndtr(GRID)).mean(axis=0)
    assert (bounds - share)[INSIDE].min() > 0 and (bounds - share).max() > 0.1


def test_more_images_narrow_it_and_more_seeds_of_the_same_images_do_not():
    errors = [estimated_share(line(images=m))[1][INSIDE].mean() for m in (200, 1800)]
    assert errors[1] == pytest.approx(errors[0] / 3, rel=0.25)
    assert estimated_share(line(images=200, seeds=3))[1][INSIDE].mean() == pytest.approx(errors[0], rel=0.1)


def test_nothing_is_estimated_where_nothing_is_open():
    counted, few = line(images=50), line(images=50)
    claim = {**counted.seeds[0].provenance.notes, "claim": {"norm": "l1", "alpha": 0.0, "domain": "8-bit grid"}}
    record = replace(counted.seeds[0].provenance, notes=claim)
    assert estimated_share(replace(counted, seeds=(replace(counted.seeds[0], provenance=record),))) is None
    assert estimated_share(external_line(images=50)) is None
    few.seeds[0].table["n"] = 0
    assert estimated_share(few) is None


def test_the_figure_has_one_band_for_each_line():
    axis = draw_p_a([line(), line(method="macer", seed=5)], PlotSettings()).axes[0]
    assert len(axis.collections) == 2
    upper = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert upper.min() >= 0 and upper.max() <= 100
