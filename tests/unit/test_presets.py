"""Presets: every row is valid for its method, says what the papers say, and a missing row is explained."""

import numpy as np
import pytest
from pydantic import ValidationError

from certflow import presets
from certflow.errors import ConfigError, DataError
from certflow.kinds import registry
from certflow.presets import Preset, load_preset, preset_names, preset_row, preset_settings
from certflow.report import published as numbers
from certflow.report.published import published, published_archs, published_datasets
from certflow.training.base import MethodSpec

SPLITTING = "alevine0/smoothingSplittingNoise"
SEVERAL = ["alinlab/smoothing-catrs", "jh-jeong/smoothmix"]
"""Sources of which results are known on several choices of images."""
CELL = ["source", "dataset", "arch", "method", "sigma"]
MEANS = {
    "gaussian": "mnist/cohen/",
    "stability": "mnist/stab/lbd_2/",
    "macer": "mnist/macer_deferred30/num_16/lbd_16",
    "smoothadv": "mnist/salman/pgd_255.0_10_10/num_4/",
    "consistency": r"mnist/consistency/cohen/num_2/lbd_(?:10.0/eta_0.5/noise_0.25|5.0/eta_0.5/noise_1.00)_[1-5]",
    "consistency_smoothadv": "mnist/consistency/salman_255.0_10_10/num_4/",
    "smoothmix": r"mnist/smoothmix/smix_1.0_\d_m1/tau_5.0/num_4/2[1-5]/",
}
"""Where the runs of five training seeds lie, whose means are published under a method."""

CELLS = [
    pytest.param(name, dataset, row.method, noise, sigma, id=f"{name}-{dataset}-{row.method}-{noise}-{sigma:g}")
    for name in preset_names()
    for row in load_preset(name).rows
    for dataset in row.datasets
    for noise in row.noises
    for sigma in row.sigmas
]


@pytest.mark.parametrize("preset, dataset, method, noise, sigma", CELLS)
def test_every_row_is_a_valid_method(preset, dataset, method, noise, sigma):
    settings = preset_settings(preset, dataset, method, noise, sigma)
    assert noise in registry.kinds("noise")
    assert dataset in registry.kinds("dataset")
    if method in registry.kinds("method"):
        spec = registry.spec_class("method", method).small(**settings)
    else:  # a method that is not here yet: at least the common recipe must be sound
        common = {name: value for name, value in settings.items() if name in MethodSpec.model_fields}
        spec = MethodSpec(kind=method, **common)
    assert spec.epochs == settings["epochs"]
    stated = {"epochs", "batch", "lr", "schedule", "weight_decay"}
    if settings["schedule"] == "step":
        stated |= {"lr_step", "lr_drop_offset", "momentum"}
    assert stated <= set(settings)


@pytest.mark.parametrize(
    "preset, dataset, sigma, lr, epochs, lr_step, batch, offset",
    [
        ("paper", "mnist", 0.25, 0.01, 90, 30, 256, 1),
        ("paper", "fmnist", 1.0, 0.01, 90, 30, 256, 1),
        ("paper", "cifar10", 0.5, 0.1, 150, 50, 256, 1),
        ("paper", "cifar100", 0.25, 0.1, 150, 50, 256, 1),
        ("paper", "imagenet", 1.0, 0.1, 90, 30, 400, 0),
        ("cohen2019", "cifar10", 0.12, 0.1, 90, 30, 400, 0),
        ("cohen2019", "imagenet", 0.5, 0.1, 90, 30, 400, 0),
        ("smoothed_predictions", "mnist", 0.25, 0.01, 150, 50, 256, 1),
        ("smoothed_predictions", "imagenet", 0.25, 0.1, 90, 30, 256, 1),
    ],
)
def test_gaussian_recipes(preset, dataset, sigma, lr, epochs, lr_step, batch, offset):
    settings = preset_settings(preset, dataset, "gaussian", "gaussian", sigma)
    found = tuple(settings[name] for name in ("lr", "epochs", "lr_step", "batch", "lr_drop_offset"))
    assert found == (lr, epochs, lr_step, batch, offset)
    assert (settings["momentum"], settings["weight_decay"], settings["lr_gamma"]) == (0.9, 1e-4, 0.1)


@pytest.mark.parametrize(
    ("preset", "method", "noise", "sigma"),
    [
        ("salman2020", "gaussian", "none", 0.0),
        ("salman2020", "denoised", "gaussian", 0.25),
        ("salman2020_finetune", "denoised", "gaussian", 0.25),
        ("levine2021_denoised", "denoised", "ssn", 0.5),
    ],
)
def test_learning_rates_of_denoised_smoothing_drop_one_epoch_late(preset, method, noise, sigma):
    """Both trainers of microsoft/denoised-smoothing, and their fork, call `scheduler.step(epoch)` after epoch `epoch`."""
    spec = registry.spec_class("method", method).small(**preset_settings(preset, "cifar10", method, noise, sigma))
    late = [epoch for epoch in (30, 31) if spec.learning_rate(epoch, 0, 1) == pytest.approx(spec.lr)]
    assert late == [30]


def test_ftcadis_says_what_the_commands_say():
    """Learning rates of the commands are per 256 images, radii in 1/256 of half the pixel range."""
    for sigma, lbd, doubled in [(0.25, 1.0, None), (0.5, 2.0, None), (1.0, 4.0, 10)]:
        found = preset_settings("ftcadis2024", "cifar10", "ftcadis", "gaussian", sigma)
        assert (found["lr"], found["eps"]) == (1e-4 * 128 / 256, 64 / 256 / 2)
        assert (found["lbd"], found.get("eps_double_epoch"), found["noises"], found["steps"]) == (lbd, doubled, 4, 4)
        assert preset_row("ftcadis2024", "cifar10", "ftcadis", "gaussian", sigma).published is (sigma == 1.0)
        found = preset_settings("ftcadis2024", "imagenet", "ftcadis", "gaussian", sigma)
        assert (found["lr"], found["lbd"], found["mode"], found["rank"]) == (4e-4 * 128 / 256, 2.0, "lora", 4)
    late = preset_settings("ftcadis2024_late", "cifar10", "ftcadis", "gaussian", 1.0)
    whole = preset_settings("ftcadis2024", "cifar10", "ftcadis", "gaussian", 1.0)
    assert whole == {**late, "eps_double_epoch": 10}


# What the papers' tables of settings say, written down a second time, one line per dataset and method: sigma 0.25, 0.5, 1.0.
TABLE = {
    ("mnist", "stability"): {"lbd": (2, 2, 2), "epochs": (90, 90, 90)},
    ("mnist", "smoothadv"): {"eps256": (255,) * 3, "steps": (10,) * 3, "warmup": (10,) * 3, "noises": (4,) * 3},
    ("mnist", "macer"): {"lbd": (16, 16, 6), "deferred": (True,) * 3, "batch": (256,) * 3, "noises": (16,) * 3},
    ("mnist", "consistency"): {"lbd": (10, 5, 5), "eta": (0.5,) * 3, "noises": (2,) * 3},
    ("mnist", "consistency_smoothadv"): {"lbd": (1, 1, 1), "eps256": (255,) * 3, "noises": (4,) * 3},
    ("mnist", "smoothmix"): {"steps": (2, 4, 8), "eta": (5,) * 3, "alpha": (1,) * 3, "mix_step": (1,) * 3},
    ("mnist", "catrs"): {
        "lbd": (1, 1, 1),
        "epochs": (150,) * 3,
        "lr_step": (50,) * 3,
        "lr": (0.01,) * 3,
        "steps": (4,) * 3,
    },
    ("cifar10", "stability"): {"lbd": (2, 2, 1), "epochs": (150,) * 3},
    ("cifar10", "smoothadv"): {"eps256": (256, 256, 512), "noises": (4, 8, 2), "steps": (10,) * 3, "warmup": (10,) * 3},
    ("cifar10", "macer"): {"lbd": (12, 4, 12), "deferred": (False, False, True), "batch": (64,) * 3, "beta": (16,) * 3},
    ("cifar10", "consistency"): {"lbd": (20, 10, 10), "noises": (2,) * 3},
    ("cifar10", "consistency_smoothadv"): {"lbd": (2, 1, 1), "eps256": (255, 512, 512), "noises": (4, 2, 2)},
    ("cifar10", "smoothmix"): {"alpha": (0.5, 1, 2), "mix_step": (0, 1, 1), "steps": (4,) * 3, "noises": (2,) * 3},
    ("cifar10", "catrs"): {"lbd": (0.5, 1, 2), "noises": (4,) * 3, "eps256": (256,) * 3, "steps": (4,) * 3},
}


@pytest.mark.parametrize(("dataset", "method"), TABLE)
def test_settings_of_the_papers(dataset, method):
    for name, values in TABLE[dataset, method].items():
        found = tuple(preset_settings("paper", dataset, method, "gaussian", sigma)[name] for sigma in (0.25, 0.5, 1.0))
        assert found == values, name


LOGGED = {("cifar100", "macer"): {"deferred": True}}
"""What published training logs say of a dataset otherwise than of the one that its settings are taken over from."""


@pytest.mark.parametrize(("copy", "original", "sigmas"), [("fmnist", "mnist", 3), ("cifar100", "cifar10", 2)])
@pytest.mark.parametrize("method", sorted({method for _, method in TABLE}))
def test_settings_taken_over_from_another_dataset_are_the_same_and_marked(copy, original, sigmas, method):
    for sigma in (0.25, 0.5, 1.0)[:sigmas]:
        theirs, ours = (preset_settings("paper", name, method, "gaussian", sigma) for name in (original, copy))
        assert ours == theirs | LOGGED.get((copy, method), {})
    rows = [row for row in load_preset("paper").rows if copy in row.datasets and row.method == method]
    assert not any(row.published for row in rows)


def test_catrs_on_imagenet():
    spec = registry.spec_class("method", "catrs")(**preset_settings("paper", "imagenet", "catrs", "gaussian", 1.0))
    assert (spec.noises, spec.steps, spec.lbd, spec.batch, spec.confidence_mask) == (2, 1, 2, 256, True)
    assert [spec.epsilon(epoch) for epoch in (79, 80)] == [1, 2]
    rates = [spec.learning_rate(epoch, 0, 1) for epoch in (0, 31, 84, 85, 86)]
    assert rates == pytest.approx([0.1, 0.01, 1e-3, 1e-4, 1e-3])


@pytest.mark.parametrize("noise", ["uniform", "ssn", "dssn"])
@pytest.mark.parametrize(
    ("dataset", "sigma", "epochs", "lr"),
    [("cifar10", 0.15, 120, 0.1), ("imagenet", 3.5, 30, 0.1), ("mnist", 2.0, 30, 0.02)],
)
def test_the_recipe_of_splitting_noise(dataset, sigma, epochs, lr, noise):
    one, two = (preset_settings("levine2021", dataset, method, noise, sigma) for method in ("gaussian", "stabilized"))
    spec = registry.spec_class("method", "gaussian")(**one)
    assert (spec.epochs, spec.batch, spec.momentum, spec.nesterov, spec.weight_decay) == (epochs, 64, 0.9, True, 1e-4)
    rates = [spec.learning_rate(epoch, 0, 1) for epoch in (0, epochs // 3, epochs // 2)]
    assert rates == pytest.approx([lr, 0.75 * lr, 0.5 * lr])  # lr (1 + cos(pi e / E)) / 2
    assert two == one | {"noises": 2, "lbd": 6.0}


def test_numbers_of_splitting_noise_are_there_for_all_that_its_paper_trained():
    levels = {"cifar10": 15, "imagenet": 3}
    for row in load_preset("levine2021").rows:
        assert row.published == (row.datasets[0] in levels) and row.norms == ["l1"]
        if row.published:
            assert len(row.sigmas) == levels[row.dataset]
            for noise in row.noises:
                for sigma in row.sigmas:
                    found = published(row.dataset, row.model, row.method, noise, "l1", sigma)
                    assert len(found) == 9 and set(found.certificate) == {
                        "dssn" if noise == "dssn" else "neyman_pearson"
                    }


@pytest.mark.parametrize("noise", ["uniform", "laplace", "gaussian"])
def test_the_recipe_of_the_noise_families_is_that_of_splitting_noise(noise):
    """The code of the latter is a fork of the former's."""
    found = preset_settings("yang2020", "cifar10", "gaussian", noise, 0.25)
    assert found == preset_settings("levine2021", "cifar10", "gaussian", "ssn", 0.25)
    anew = preset_settings("levine2021_denoised", "cifar10", "retrained", "ssn", 0.5)
    assert found == {name: value for name, value in anew.items() if name != "frozen"} and anew["frozen"] is False
    assert [len(row.sigmas) for row in load_preset("yang2020").rows if row.published] == [15, 6, 15]


def test_settings_are_the_callers_own():
    preset_settings("paper", "mnist", "gaussian", "gaussian", 0.25)["lr"] = 7
    assert preset_settings("paper", "mnist", "gaussian", "gaussian", 0.25)["lr"] == 0.01


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("papers", "mnist", "gaussian", "gaussian", 0.25),
            "no preset 'papers'; known: cohen2019, dsrs, ftcadis2024, .*paper",
        ),
        (
            ("paper", "mnist", "gaussian", "gaussian", 0.12),
            "no row for mnist gaussian under gaussian sigma 0.12; known: .*mnist gaussian under gaussian sigma 0.25, 0.5, 1",
        ),
        (
            ("paper", "digits", "gaussian", "gaussian", 0.25),
            "no row for digits gaussian under gaussian sigma 0.25; known: .*cifar10",
        ),
        (
            ("cohen2019", "cifar10", "nosuch", "gaussian", 0.25),
            "no row for cifar10 nosuch under gaussian sigma 0.25; known: cifar10",
        ),
    ],
)
def test_a_missing_row_is_explained(arguments, message):
    with pytest.raises(ConfigError, match=message):
        preset_settings(*arguments)


ROW = {
    "dataset": "mnist", "method": "macer", "noise": "gaussian", "norm": "l2", "sigma": [0.25, 0.5], "model": "lenet",
    "source": "x", "published": True,
}  # fmt: skip


def test_values_per_noise_level_win_over_settings_and_recipe():
    row = {**ROW, "recipe": "r", "settings": {"b": 2, "c": 2}, "per_sigma": {"c": [3, 4]}}
    preset = Preset.model_validate({"about": "x", "recipes": {"r": {"a": 1, "b": 1, "c": 1}}, "rows": [row]})
    assert preset.settings(preset.rows[0], 0.25) == {"a": 1, "b": 2, "c": 3}
    assert preset.settings(preset.rows[0], 0.5) == {"a": 1, "b": 2, "c": 4}


@pytest.mark.parametrize(
    "rows, message",
    [
        ([{**ROW, "per_sigma": {"lbd": [1]}}], "per_sigma.lbd: 1 values for 2 noise levels"),
        ([{**ROW, "recipe": "small"}], "no recipe 'small'"),
        (
            [ROW, {**ROW, "dataset": ["fmnist", "mnist"], "sigma": 0.5}],
            "two rows for mnist macer under gaussian sigma 0.5",
        ),
        ([{**ROW, "sigma": "0.25"}], "sigma"),
        ([{**ROW, "source": ""}], "source"),
        ([{**ROW, "setings": {}}], "setings"),
        ([{**ROW, "norm": "l3"}], "norm"),
        ([{key: ROW[key] for key in ROW if key != "noise"}], "noise\\n  Field required"),
        ([{key: ROW[key] for key in ROW if key != "norm"}], "norm\\n  Field required"),
    ],
)
def test_inconsistent_rows_are_refused(rows, message):
    with pytest.raises(ValidationError, match=message):
        Preset.model_validate({"about": "x", "rows": rows})


def test_a_broken_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    (tmp_path / "mine.yaml").write_text("about: x\nrows: [{dataset: mnist}]\n")
    (tmp_path / "worse.yaml").write_text("about: [x\n")
    with pytest.raises(ConfigError, match=r"mine.yaml: rows.0.method: Field required"):
        load_preset.__wrapped__("mine")
    with pytest.raises(ConfigError, match=r"worse.yaml: cannot be read"):
        load_preset.__wrapped__("worse")
    (tmp_path / "twice.yaml").write_text("about: x\nrows: []\nrecipes: {a: {lr: 0.1, lr: 0.01}}\n")
    with pytest.raises(ConfigError, match=r"recipes.a.lr: is written in line 3 and again in line 3"):
        load_preset.__wrapped__("twice")


def test_published_numbers():
    rows = published("cifar10", "cifar_resnet110", "gaussian", "gaussian", "l2", 0.25)
    ours = (
        rows[(rows.source == "alinlab/smoothing-catrs") & (rows.images == "0:10000")]
        .set_index(["metric", "radius"])
        .value
    )
    assert ours[("clean_accuracy", 0.0)] == 0.7665
    assert rows[(rows.metric == "acr") & (rows.n_images == 10_000)].value.item() == 0.424024
    assert tuple(rows.columns) == numbers.COLUMNS
    assert set(rows.metric) <= {"acr", "certified_accuracy", "clean_accuracy", "abstention_rate"}


def test_published_numbers_are_found_under_either_name_of_the_network():
    by_ours = published("cifar100", "cifar_resnet110", "catrs", "gaussian", "l2", 0.5)
    assert len(by_ours) and by_ours.equals(published("cifar100", "cifar100_resnet110", "catrs", "gaussian", "l2", 0.5))
    assert by_ours.equals(published("cifar100", None, "catrs", "gaussian", "l2", 0.5))
    assert published_archs("cifar100") == ("cifar100_resnet110", "cifar_resnet110")
    assert published_archs("cifar10") == ("cifar_densenet40", "cifar_resnet110", "cifar_resnet20", "wide_resnet40_2")
    assert published_datasets() == ("cifar10", "cifar100", "cifar10c", "fmnist", "imagenet", "mnist", "mnistc")
    assert set(by_ours.arch) == {"cifar100_resnet110"}


def test_unknown_cells_give_an_empty_table():
    for cell in (
        ("cifar10", "lenet", "gaussian", "gaussian", "l2", 0.25),
        ("cifar10", None, "gaussian", "gaussian", "l2", 0.26),
        ("cifar10", None, "gaussian", "generalized_gaussian", "l2", 0.25),
        ("cifar10", None, "gaussian", "gaussian", "linf", 0.25),
        ("digits", None, "gaussian", "gaussian", "l2", 0.25),
    ):
        empty = published(*cell)
        assert len(empty) == 0 and "value" in empty.columns


def test_published_tables_are_sane():
    table = numbers._published()
    key = ["source", "dataset", "arch", "method", "noise", "norm", "sigma", "n_images", "metric", "radius"]
    assert not table.duplicated(key).any()
    assert set(table.noise) <= set(registry.kinds("noise"))
    assert set(table.certificate) <= set(registry.kinds("certificate"))
    assert (table.groupby(key[:8])[["certificate", "n", "alpha", "digits"]].nunique(dropna=False) == 1).all(axis=None)
    assert (table.loc[table.method.str.contains("@alpha="), "alpha"] == 0.01).all()
    assert table.alpha.between(0, 0.01).all() and set(table.digits.dropna()) == {3}
    plain = table.metric.str.removeprefix("corruption_").str.partition(":")[0]
    fractions = table[plain != "acr"]
    assert fractions.value.between(0, 1).all() and (table.value >= 0).all()
    assert (table.radius.notna() == plain.isin(["certified_accuracy", "clean_accuracy"])).all()
    assert (table.metric.str.startswith("corruption_") == table.dataset.isin(["cifar10c", "mnistc"])).all()
    curves = table[plain == "certified_accuracy"].sort_values("radius").groupby(key[:9])
    assert all(curve.value.is_monotonic_decreasing for _, curve in curves)
    l2 = (plain == "acr") & (table.noise == "gaussian") & (table.norm == "l2")
    assert (table.loc[l2, "value"] <= 4.0 * table.loc[l2, "sigma"]).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda text: text.replace(",gaussian,l2,", ",,l2,", 1), "line 2: noise and norm must be .* got '' and 'l2'"),
        (
            lambda text: text.replace(",gaussian,l2,", ",gaussian,l3,", 1),
            "line 2: noise and norm must be .*l1, l2, linf",
        ),
        (lambda text: text.replace(",noise,norm,", ",", 1).replace(",gaussian,l2,", ","), "does not have the columns"),
        (lambda text: text.replace(",neyman_pearson,", ",,", 1), "line 2: certificate must be a kind of certificate"),
        (
            lambda text: text.replace(",certificate,", ",", 1).replace(",neyman_pearson,", ","),
            "does not have the columns",
        ),
        (lambda text: text.replace(",n,", ",", 1).replace(",100000,", ","), "does not have the columns"),
        (lambda text: text.replace(",100000,", ",,", 1), "line 2: n is empty where .* got n '' and alpha '0.001'"),
        (lambda text: text.replace(",100000,0.001,", ",,,", 1), "line 2: n is empty where .* got n '' and alpha ''"),
        (lambda text: text.replace(",0.001,", ",0,", 1), "line 2: n is empty where .* got n '100000' and alpha '0'"),
        (lambda text: text.replace(",100000,", ",many,", 1), "not a valid table"),
        (lambda text: text.replace(",0.001,", ",little,", 1), "not a valid table"),
        (
            lambda text: text.replace(",0:10000,", ",0:10000:3,", 1),
            "line 2: 0:10000:3 are 3334 images, but n_images is",
        ),
        (
            lambda text: text.replace(",0:10000,", ",9:3,", 1),
            "images must be first:end or first:end:step, .* got '9:3'",
        ),
    ],
)
def test_published_numbers_must_say_what_they_are_of(change, message, tmp_path):
    """No reader takes a row for one of Gaussian noise in l2, or of 100,000 draws, because it does not say."""
    path = tmp_path / "mine.csv"
    path.write_text(change((numbers.FOLDER / "cifar100.csv").read_text()))
    with pytest.raises(DataError, match=message):
        numbers._table(path)


def test_published_numbers_equal_their_origin(shared):
    import pandas as pd

    origin = pd.read_csv(shared("reference/training_methods.csv"))
    table = numbers._published()
    table = table[
        (table.source != SPLITTING) & (~table.index.isin(subsets(table).index) | (table.dataset == "cifar10c"))
    ]
    merged = table.merge(origin, how="left", indicator=True)
    assert len(merged) == len(table) and (merged["_merge"] == "both").all()
    metrics = {"acr", "certified_accuracy", "clean_accuracy", "abstention_rate"}
    plain = origin.metric.str.removeprefix("corruption_").str.partition(":")[0]
    wanted = origin[origin.dataset.isin(table.dataset.unique()) & plain.isin(metrics)]
    assert len(wanted) == len(table)


def subsets(table):
    """The rows about every tenth, 20th or 100th test image of results that are known on all of them."""
    return table[table.images.isin([f"0:10000:{step}" for step in (10, 20, 100)]) & table.source.isin(SEVERAL)]


def test_published_numbers_on_fewer_images_equal_their_origin(shared):
    """Results of one file are found by its ACR on all images; means over five seeds, by where their files lie."""
    import pandas as pd

    table, origin = numbers._published(), pd.read_csv(shared("reference/published_subsets.csv"))
    everywhere = table[(table.images == "0:10000") & (table.metric == "acr")].set_index(CELL).value
    whole, few, cells = origin[origin.images == "0::1"], subsets(table), 0
    for cell, rows in few[few.dataset != "cifar10c"].groupby([*CELL, "images"]):
        source, dataset, _, method, sigma, images = cell
        files = whole[(whole.source == source) & (whole.dataset == dataset) & (whole.sigma == sigma)]
        if (source, dataset) == ("jh-jeong/smoothmix", "mnist"):
            files = files[files.file.str.contains(MEANS[method])]
            assert len(files) == 5
        else:
            files = files[(files.acr - everywhere[cell[:5]]).abs() < 1e-6]
            assert len(files) == 1
        wanted = origin[origin.file.isin(files.file) & (origin.images == images.replace("0:10000:", "0::"))]
        wanted = wanted.rename(columns={"abstention": "abstention_rate", "clean_accuracy": "ca_0"}).mean(
            numeric_only=True
        )
        for row in rows.itertuples():
            metric = row.metric if np.isnan(row.radius) else f"ca_{row.radius:g}"
            assert wanted[metric] == pytest.approx(row.value, abs=1e-6), row
        cells += 1
    assert cells == 3 * 61


def test_published_numbers_of_splitting_noise_equal_their_origin(shared):
    import pandas as pd

    origin = pd.read_csv(shared("reference/l1_tables.csv"))
    origin = origin[(origin["row"] == "experiment") & (origin.denoiser == "none")]
    table = numbers._published()
    table = table[table.source == SPLITTING]
    assert len(origin) == 108 and len(table) == 9 * len(origin)
    for row in origin.to_dict("records"):
        deterministic, method = row["noise"] == "dssn", "stabilized" if int(row["stabilized"]) else "gaussian"
        ours = table[
            (table.dataset == {"cifar": "cifar10"}.get(row["dataset"], row["dataset"]))
            & (table.noise == row["noise"])
            & (table.sigma == row["sigma"])
            & (table.method == method)
        ]
        clean = row["top1_acc" if deterministic else "certified_positive_acc"]
        wanted = {0.0: clean} | {radius: row[f"r{radius}"] for radius in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)}
        assert dict(zip(ours.radius, ours.value, strict=True)) == wanted
        assert set(ours.n_images) == {row["n_images"]} and set(ours.alpha) == {0 if deterministic else 0.0005}
        assert (ours.metric.eq("clean_accuracy") == ours.radius.eq(0)).all() and ours.digits.isna().all()
        assert set(ours.n.fillna(-1)) == {-1 if deterministic else 100_000}


@pytest.mark.parametrize(
    "dataset, method, expected",
    [
        ("mnist", "gaussian", {"lr": 0.01, "epochs": 150, "lr_step": 50, "noise_warmup": 100, "batch": 256}),
        ("cifar10", "gaussian", {"lr": 0.01, "epochs": 150, "lr_step": 50, "noise_warmup": 100, "batch": 256}),
        ("cifar10", "consistency", {"lbd": 20, "noises": 2, "form": "xent", "entropy_form": "double_softmax"}),
        ("mnist", "smoothmix", {"epochs": 90, "steps": 8, "noises": 4, "eta": 5, "noise_warmup": 70, "lr": 0.01}),
        ("cifar10", "smoothmix", {"epochs": 150, "steps": 4, "noises": 2, "noise_warmup": 110, "lr": 0.1}),
        ("imagenet", "gaussian", {"epochs": 6, "batch": 96, "noise_warmup": 60_000, "noise_warmup_unit": "step"}),
        ("imagenet", "smoothmix", {"epochs": 10, "batch": 48, "alpha": 8, "steps": 1, "noise_warmup": 200_000}),
    ],
)
def test_training_for_double_sampling(dataset, method, expected):
    settings = preset_settings("dsrs", dataset, method, "generalized_gaussian", 0.5)
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize("dataset", ["cifar10", "imagenet"])
def test_smoothmix_for_double_sampling_is_published_at_one_noise_level(dataset):
    """Its commands name noise level 0.5 alone; on MNIST, and for the other methods, all three."""
    rows = [preset_row("dsrs", dataset, "smoothmix", "generalized_gaussian", sigma) for sigma in (0.25, 0.5, 1.0)]
    assert [row.published for row in rows] == [False, True, False]
    settings = [load_preset("dsrs").settings(row, sigma) for row, sigma in zip(rows, (0.25, 0.5, 1.0), strict=True)]
    assert settings[0] == settings[1] == settings[2]
