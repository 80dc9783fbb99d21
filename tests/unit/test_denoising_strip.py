"""Pictures of denoised images: the right images under the right noise, one column per denoiser, the same bytes every time."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from denoising_examples import composed
from jinja2 import Environment, StrictUndefined
from training_examples import patterns

from certflow.files.provenance import Provenance
from certflow.noise import Gaussian
from certflow.report.strip import Strip, draw_strips, strip
from certflow.report.style import save


class Half(torch.nn.Module):
    def forward(self, y):
        return y / 2


def test_a_strip_shows_what_it_says():
    _, test = patterns(train=4, test=30)
    index = np.array([3, 17])
    found = strip({"half": Half(), "net": composed().denoiser}, test, Gaussian(sigma=0.5), index, seed=1, device="cpu")
    assert found.columns == ("clean", "noisy", "half", "net") and found.sigma == 0.5
    assert found.pictures.shape == (2, 4, 1, 8, 8) and found.pictures.dtype == np.float32
    clean, noisy, half, _ = found.pictures.transpose(1, 0, 2, 3, 4)
    np.testing.assert_allclose(clean, test.pixels[index] / 255, atol=1e-6)
    inside = (noisy > 0) & (noisy < 1)
    np.testing.assert_allclose(half[inside], noisy[inside] / 2, atol=1e-6)
    # Half of what is above 1 may lie inside: the denoiser got it uncut.
    assert (half[noisy == 1] > 0.5).any()
    assert np.abs(noisy - clean).mean() > 0.1


def test_strips_are_drawn_a_row_per_image_and_a_column_per_name(tmp_path):
    rng = np.random.default_rng(0)
    gray = rng.random((2, 3, 1, 8, 8), np.float32)
    colour = rng.random((2, 2, 3, 8, 8), np.float32)
    strips = [Strip(0.25, ("clean", "noisy", "a"), gray), Strip(0.5, ("clean", "noisy"), colour)]
    figure = draw_strips(strips)
    assert len(figure.axes) == 4 * 3
    assert [len(ax.images) for ax in figure.axes] == [1] * 6 + [1, 1, 0] * 2
    assert [ax.get_title() for ax in figure.axes[:3]] == ["clean", "noisy", "a"]
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["σ = 0.25", "", "σ = 0.5", ""]
    for name in ("one.png", "two.png"):
        save(draw_strips(strips), [tmp_path / name], Provenance("figure", {}))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_the_caption_is_valid_restructured_text(root):
    core = pytest.importorskip("docutils.core")
    text = (root / "docs/captions/denoised.rst").read_text()
    context = SimpleNamespace(wildcards=SimpleNamespace(experiment="digits-denoised"))
    shown = Environment(undefined=StrictUndefined).from_string(text).render(snakemake=context)
    settings = {"report_level": 1, "halt_level": 1}
    assert "digits-denoised" in core.publish_parts(shown, writer="html", settings_overrides=settings)["body"]
