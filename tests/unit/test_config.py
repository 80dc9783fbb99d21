"""The configuration: what is accepted, what is refused and in which words, and what each stage depends on."""

import copy
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import pytest
import yaml

from certflow.certify.base import CertificateSpec, exact_problems
from certflow.config import Run, load
from certflow.config.files import merged
from certflow.config.records import CountsRun
from certflow.errors import ConfigError
from certflow.files.yamlfile import read_otherwise
from certflow.kinds.registry import register, spec_class
from certflow.report import published
from certflow.training.base import ReadsPredictions

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def own():
    """The project's own configuration."""
    return yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.fixture
def raw(own):
    """The project's own configuration, free to be changed."""
    return copy.deepcopy(own)


def problems(raw) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(raw)
    return caught.value.problems


def test_own_configuration_is_valid(raw):
    study = load(raw)
    assert {"digits", "mnist", "fmnist", "cifar10", "cifar100", "imagenet"} <= set(study.experiments)
    assert list(study.targets) == ["digits"]


def test_a_recipe_is_checked_once_and_not_for_every_job_that_asks_for_it(raw):
    study = load(raw)
    recipe = study.method("gaussian", "mnist", "gauss-0.50")
    assert study.method("gaussian", "mnist", "gauss-0.50") is recipe
    assert study.method("gaussian", "cifar10", "gauss-0.50") is not recipe


@pytest.mark.parametrize("overlay", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_shipped_overlays_are_valid(overlay):
    command = re.search("--configfile (.*?) --", (ROOT / "configs" / overlay).read_text())
    files = [ROOT / name for name in command[1].split()]
    assert files[-1].name == overlay
    load(merged([ROOT / "config.yaml", *files]))


def test_all_problems_are_reported_at_once_with_their_paths(raw):
    raw["methods"]["gaussian-quick"]["epochs"] = 0
    raw["methods"]["gaussian-quick"]["lerning_rate"] = 0.1
    raw["noises"]["gauss-0.25"]["sigma"] = "1e-1"
    raw["samplers"]["cohen"]["kind"] = "fixt"
    raw["experiments"]["digits"]["model"] = "smal"
    found = problems(raw)
    for start in (
        "methods.gaussian-quick.epochs: ",
        "methods.gaussian-quick.lerning_rate: no such setting; known: ",
        "noises.gauss-0.25.sigma: should be a valid number, got '1e-1'",
        "samplers.cohen.kind: no sampler of kind 'fixt'; known: ",
        "experiments.digits.model: no entry 'smal' in models; known: ",
    ):
        assert sum(line.startswith(start) for line in found) == 1, (start, found)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("experimentz",), {}, "experimentz: no such section"),
        (("targets",), ["nothing"], "targets: no experiment or diagnosis 'nothing'"),
        (("datasets", "a/b"), {"kind": "digits"}, "datasets.a/b: a name is made of"),
        (("datasets", "digits"), {}, "datasets.digits.kind: is missing"),
        (("datasets", "digits"), 3, "datasets.digits: must be a mapping"),
        (("datasets", "digits", "root"), "/tmp", "datasets.digits: digits come with scikit-learn"),
        (("certificates", "np", "sampler"), "nope", "certificates.np.sampler: no entry 'nope' in samplers"),
        (("certificates", "np", "alpha"), 0.7, "certificates.np.alpha: "),
        (("experiments", "digits", "radii"), [1.0, 0.5], "experiments.digits.radii: must increase"),
        (("experiments", "digits", "seeds"), [1, 1], "experiments.digits.seeds: must be different"),
        (("experiments", "digits", "methods"), [], "experiments.digits.methods: "),
        (
            ("experiments", "digits", "noises"),
            ["gauss-0.25", "gauss-0.25"],
            "experiments.digits.noises: 'gauss-0.25' is listed twice",
        ),
        (
            ("experiments", "digits", "foreign"),
            [{"label": "a", "noise": "gauss-0.2", "tables": ["x"]}],
            "experiments.digits.foreign.0.noise: no entry 'gauss-0.2' in noises; known: ",
        ),
        (("experiments", "digits", "seeds"), [1, 1], "experiments.digits.seeds: must be different, got [1, 1]"),
        (("experiments", "digits", "seeds"), [0, 2**32], "experiments.digits.seeds.1: should be less than 4294967296"),
        (("predictions", "quick", "seed"), 2**32, "predictions.quick.seed: should be less than 4294967296"),
        (
            ("methods", "theirs"),
            {"kind": "denoised", "classifier": {"method": "gaussian", "noise": "gauss-0.25", "seed": 2**32}},
            "methods.theirs.classifier.seed: should be less than 4294967296",
        ),
        (("knowledge",), {"k": {"etas": [0.5, 0.0]}}, "knowledge.k.etas.1: should be greater than 0"),
        (("knowledge",), {"k": {"etas": [2.0]}}, "knowledge.k.etas.0: should be less than or equal to 1"),
        (("knowledge",), {"k": {"layers": []}}, "knowledge.k.layers"),
        (
            ("knowledge",),
            {"k": {"bound": "bootstrap", "points": 6251}},
            "knowledge.k: points: the bootstrap holds all pairs of at most 6250 points, got 6251",
        ),
        (("knowledge",), {"k": {"seed": 2**64}}, "knowledge.k.seed: should be less than 18446744073709551616"),
        (
            ("experiments", "mnist", "published"),
            {"dataset": "mnits", "arch": "lenet"},
            "experiments.mnist.published.dataset: ",
        ),
        (
            ("experiments", "cifar100", "published"),
            {"dataset": "cifar100", "arch": "resnet110"},
            "experiments.cifar100.published.arch: no published numbers of 'resnet110' on cifar100; known: cifar100_resnet110",
        ),
        (
            ("methods", "gaussian-quick", "preset_dataset"),
            "mnist",
            "methods.gaussian-quick.preset_dataset: is only used",
        ),
        (
            ("experiments", "digits", "foreign"),
            [
                {"label": "a", "noise": "gauss-0.25", "tables": ["x"]},
                {"label": "a", "noise": "gauss-0.25", "tables": ["y"]},
            ],
            "experiments.digits.foreign: two lines have the same label and noise",
        ),
        (
            ("experiments", "digits", "foreign"),
            [{"label": "a", "noise": "gauss-0.25", "tables": []}],
            "experiments.digits.foreign.0.tables: ",
        ),
        (
            ("experiments", "digits", "foreign"),
            [{"label": "a", "noise": "gauss-0.25", "tables": ["x", "y", "x"]}],
            "experiments.digits.foreign.0.tables: 'x' is listed twice",
        ),
        (("experiments", "digits", "seedz"), [1], "experiments.digits.seedz: no such setting"),
        (("images", "digits-half", "skip"), 10_000, "experiments.digits.images: digits-half on digits: "),
        (("experiments", "mnist", "model"), "resnet110", "experiments.mnist.model: resnet110 on mnist: "),
        (("experiments", "digits", "methods"), ["gaussian"], "experiments.digits.methods: gaussian at gauss-0.25"),
        (("samplers", "n4000", "n"), 5, "experiments.digits.certificates: np-4k at gauss-0.25: n=5"),
        (
            ("samplers", "two"),
            {"kind": "double", "q": {"family": "scaled", "rule": "x"}},
            "samplers.two.q.rule: no such setting; known: family, ratio, pool",
        ),
        (
            ("samplers", "two"),
            {"kind": "double", "q": {"family": "truncated", "rule": 1.5}},
            "samplers.two.q.rule: must be x, x+, x2, x2+ or a number between 0 and 1, got 1.5",
        ),
        (
            ("samplers", "two"),
            {"kind": "double", "q": {"family": "cut"}},
            "samplers.two.q.family: must be one of scaled, truncated, got 'cut'",
        ),
        (
            ("samplers", "two"),
            {"kind": "double", "q": {"family": "scaled", "ratio": 1}},
            "samplers.two: q.ratio: 1 makes",
        ),
    ],
)
def test_each_mistake_is_named(raw, path, value, expected):
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert any(line.startswith(expected) for line in problems(raw)), problems(raw)


TABLE = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t3\t3\t0.378\t1\t15.4\n20\t7\t-1\t0.0\t0\t15.6\n"


def with_foreign(raw, folder, *texts, **fields):
    """The configuration with one table made elsewhere for each text, each a line of its own."""
    results = []
    for i, text in enumerate(texts):
        path = folder / f"{i} {{odd}} name.tsv"
        path.write_text(text)
        results.append(
            {"label": f"their {i}", "noise": "gauss-0.25", "folder": str(folder), "tables": [path.name], **fields}
        )
    raw["experiments"]["digits"]["foreign"] = results
    return raw


def test_tables_made_elsewhere_are_read_with_the_configuration(raw, tmp_path):
    """Every problem at once, with its place in the configuration and its line in the file."""
    bad = {
        "line 1: lacks the columns idx": TABLE.replace("\t", ","),
        "line 2: correct is 0, but predict is 3": TABLE.replace("0.378\t1", "0.378\t0"),
        "line 3: label is 10, but the dataset has 10 classes": TABLE.replace("20\t7", "20\t10"),
        "line 3: idx is 445, but the dataset has 445 images in its test split": TABLE.replace("20\t7", "445\t7"),
    }
    found = problems(with_foreign(raw, tmp_path, TABLE, *bad.values()))
    assert len(found) == 4
    for i, message in enumerate(bad, 1):
        start = f"experiments.digits.foreign.{i}.tables.0: {tmp_path}/{i} {{odd}} name.tsv: {message}"
        assert sum(line.startswith(start) for line in found) == 1, (start, found)


def test_tables_of_one_line_are_of_the_same_images(raw, tmp_path):
    first, other = with_foreign(raw, tmp_path, TABLE, TABLE[: TABLE.index("20")])["experiments"]["digits"]["foreign"]
    load(raw)  # as two lines
    raw["experiments"]["digits"]["foreign"] = [{**first, "tables": first["tables"] + other["tables"]}]
    (found,) = problems(raw)
    assert found.startswith("experiments.digits.foreign.0.tables.1: ")
    assert f"has other images or labels than {tmp_path}/0 {{odd}} name.tsv" in found


def test_l2_radii_made_elsewhere_do_not_stand_beside_others(raw, tmp_path):
    with_foreign(raw, tmp_path, TABLE)
    raw["certificates"]["linf"] = {
        "kind": "inscribed",
        "norm": "linf",
        "sampler": "n1000",
        "of": {"kind": "neyman_pearson"},
    }
    raw["experiments"]["digits"]["certificates"] = ["linf"]
    assert any(line.startswith("experiments.digits.foreign: tables made elsewhere hold l2") for line in problems(raw))


def test_a_table_stands_beside_one_row_that_there_is(raw, tmp_path):
    with_foreign(raw, tmp_path, TABLE, TABLE, beside="gaussian-quick")
    other = raw["experiments"]["digits"]["foreign"][1]
    other["beside"] = "gaussian"
    (found,) = problems(raw)
    assert "foreign.1.beside: the experiment has no row of 'gaussian' under 'gauss-0.25'; its methods are" in found
    other["beside"] = "gaussian-quick"
    (found,) = problems(raw)
    assert "foreign.1.beside: 'their 0' stands beside gaussian-quick under gauss-0.25 already" in found


def test_another_content_of_a_table_made_elsewhere_is_another_table(raw, tmp_path):
    before = load(with_foreign(raw, tmp_path, TABLE)).table_spec("digits")
    after = load(with_foreign(raw, tmp_path, TABLE.replace("0.378", "0.379"))).table_spec("digits")
    assert before != after and {**before, "foreign": 0} == {**after, "foreign": 0}


def test_other_published_numbers_make_another_table(raw, tmp_path, monkeypatch):
    file = next(iter(sorted(published.FOLDER.glob("*.csv"))))
    (tmp_path / file.name).write_bytes(file.read_bytes())
    study = load(raw)
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    before = {name: study.table_spec(name) for name in ("mnist", "digits")}
    (tmp_path / file.name).write_bytes(file.read_bytes().replace(b"0.", b"1.", 1))
    changed = {name for name, spec in before.items() if study.table_spec(name) != spec}
    assert changed == {"mnist"} and study.certificate_spec(next(study.runs("mnist"))) in [
        run["spec"] for run in before["mnist"]["runs"]
    ]


def test_one_checkpoint_is_not_several_seeds(raw):
    raw["methods"]["mine"] = {"kind": "external", "checkpoint": "model.pth"}
    raw["experiments"]["digits"] |= {"methods": ["mine"], "seeds": [0, 1]}
    assert any("mine brings one checkpoint for all seeds" in line for line in problems(raw))
    raw["methods"]["mine"]["checkpoint"] = "model_{seed}.pth"
    load(raw)


def test_the_users_keys_win_over_the_preset(raw):
    raw["methods"]["gaussian"]["epochs"] = 3
    recipe = load(raw).method("gaussian", "mnist", "gauss-0.50")
    assert (recipe.epochs, recipe.lr, recipe.lr_step, recipe.batch) == (3, 0.01, 30, 256)


def test_an_overlay_may_take_a_preset_off(raw):
    raw["methods"]["gaussian"] |= {"preset": None, "epochs": 7}
    assert load(raw).method("gaussian", "mnist", "gauss-0.25").epochs == 7


def test_only_a_papers_own_recipe_is_compared_with_its_numbers(raw):
    raw["experiments"]["mnist"]["methods"] = ["gaussian", "shorter"]
    raw["methods"]["shorter"] = {"kind": "gaussian", "preset": "paper", "epochs": 5}
    assert load(raw).table_spec("mnist")["published_as"] == {
        "gaussian": dict.fromkeys(load(raw).experiments["mnist"].noises, "gaussian"),
        "shorter": dict.fromkeys(load(raw).experiments["mnist"].noises, ""),
    }


def specs(study):
    """The dependency record of each stage of one MNIST run, by stage."""
    run = Run("mnist", "lenet", "gaussian", "gauss-0.50", 0, "every20", "cohen", "np")
    return {
        "data": study.dataset_spec("mnist"),
        "train": study.model_spec(*run.of_model),
        "presample": study.presample_spec(run),
        "counts": study.counts_spec(run),
        "certify": study.certificate_spec(run),
        "table": study.table_spec("mnist"),
        "figure": study.figure_spec("mnist"),
    }


LATER = {"presample", "counts", "certify", "table", "figure"}
"""Stages after the training: what a job depends on says all that its inputs do."""


@pytest.mark.parametrize(
    ("path", "value", "touched"),
    [
        (("methods", "gaussian", "lr"), 0.5, {"train", *LATER}),
        (("models", "lenet", "inference"), {"fold": False}, LATER),
        (("samplers", "cohen", "n"), 500, LATER - {"presample"}),
        (("samplers", "cohen", "n0"), 50, LATER),
        (("certificates", "np", "alpha"), 0.01, {"certify", "table", "figure"}),
        (("images", "every20", "max"), 10, LATER),
        (("experiments", "mnist", "radii"), [1.0], {"table", "figure"}),
        (("experiments", "mnist", "plot"), {"title": "MNIST"}, {"figure"}),
        (("experiments", "mnist", "title"), "Digits", {"table"}),
        (("experiments", "mnist", "remark"), "Look here.", {"table"}),
        (("experiments", "mnist", "envelope"), True, {"table"}),
        (("datasets", "mnist", "root"), "/somewhere", set()),
        (("targets",), ["mnist"], set()),
    ],
)
def test_a_change_touches_only_the_stages_that_depend_on_it(raw, path, value, touched):
    before = specs(load(raw))
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    after = specs(load(raw))
    assert {stage for stage in before if before[stage] != after[stage]} == touched


def guided(raw):
    """The configuration with CAT-RS at two noise levels of MNIST, and nothing else."""
    raw["methods"]["guided"] = {"kind": "guided_in_a_config_test", "epochs": 3}
    mnist = {**raw["experiments"]["mnist"], "noises": ["gauss-0.50", "gauss-1.00"], "methods": ["guided"]}
    return raw | {"targets": [], "experiments": {"mnist": mnist}}


@register("guided_in_a_config_test")
class Guided(ReadsPredictions):
    kind: Literal["guided_in_a_config_test"] = "guided_in_a_config_test"


def test_weights_depend_on_what_their_predictions_are_made_from(raw):
    run = ("mnist", "lenet", "guided", "gauss-1.00", 0)
    raw = guided(raw)
    before = load(raw).model_spec(*run)
    made_as = before["tables"]["predictions"]
    assert made_as["noise"]["sigma"] == 0.25 and made_as["method"]["epochs"] == 150
    assert made_as["predictions"] == {"revision": 1, "n": 10_000, "augment": False}
    assert "predictions" not in before["method"]
    raw["methods"]["gaussian"] |= {"epochs": 3}  # not the base classifier's
    raw["predictions"]["same"] = raw["predictions"].pop("base")
    raw["methods"]["guided"]["predictions"] = "same"
    assert load(raw).model_spec(*run) == before
    for path, value in (
        (("predictions", "same", "n"), 500),
        (("predictions", "same", "augment"), True),
        (("predictions", "same", "seed"), 1),
        (("predictions", "same", "noise"), "gauss-0.50"),
        (("methods", "gaussian-base"), {"kind": "gaussian", "epochs": 4}),
        (("models", "lenet", "inference"), {"fold": False}),
    ):
        changed = copy.deepcopy(raw)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        if path[-1] == "noise":  # the preset states this level's row at 0.25 only
            changed["methods"]["gaussian-base"] = {"kind": "gaussian", "epochs": 150}
        assert load(changed).model_spec(*run) != before, path


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("predictions", "base", "method"), "nope", "predictions.base.method: no entry 'nope' in methods"),
        (("predictions", "base", "noise"), "nope", "predictions.base.noise: no entry 'nope' in noises"),
        (
            ("predictions", "base", "method"),
            "guided",
            "predictions.base.method: guided learns from smoothed predictions",
        ),
        (("predictions", "base", "noise"), "clean", "predictions.base.noise: clean is of kind none: votes"),
        (("predictions", "base", "n"), 0, "predictions.base.n: "),
        (("predictions", "base", "draws"), 5, "predictions.base.draws: no such setting; known: method, noise, seed, n"),
        (
            ("methods", "guided", "predictions"),
            "nope",
            "experiments.mnist.methods: guided at gauss-0.50 on mnist: predictions: no entry 'nope' in predictions",
        ),
        (
            ("predictions", "base", "noise"),
            "gauss-1.00",
            "experiments.mnist.methods: guided at gauss-0.50 on mnist: it is made from gaussian-base at gauss-1.00: preset",
        ),
        (("methods", "gaussian", "predictions"), "base", "methods.gaussian.predictions: no such setting"),
    ],
)
def test_predictions_that_cannot_be_made_are_named(raw, path, value, expected):
    raw = place = guided(raw)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert any(line.startswith(expected) for line in problems(raw)), problems(raw)


@pytest.mark.parametrize(
    ("method", "classifier", "expected"),
    [
        (
            "denoised",
            {"method": "attacked", "noise": "ssn"},
            "it is made from attacked at ssn: smoothadv needs noise that is additive",
        ),
        (
            "denoised",
            {"method": "plain", "noise": "wide"},
            "it is made from plain at wide: k=400 must be below half the number of coordinates",
        ),
        (
            "denoised",
            {"method": "plain", "noise": "ssn", "model": "resnet110"},
            "it is made from plain at ssn: model: resnet110: ",
        ),
        (
            "tuned",
            {"method": "plan", "noise": "ssn"},
            "it is made from denoised at gauss-0.50: classifier: no entry 'plan' in methods; known: ",
        ),
        (
            "denoised",
            {"method": "guided", "noise": "gauss-0.50"},
            "it is made from guided at gauss-0.50: it is made from denoised at gauss-0.50: it is made from itself "
            "(denoised -> guided -> denoised)",
        ),
    ],
)
def test_what_a_model_is_made_from_must_be_possible_too(raw, method, classifier, expected):
    raw = guided(raw)
    raw["noises"]["ssn"] = {"kind": "ssn", "sigma": 0.5}
    raw["noises"]["wide"] = {"kind": "generalized_gaussian", "sigma": 0.5, "k": 400}
    raw["methods"] |= {
        "attacked": {"kind": "smoothadv"},
        "plain": {"kind": "gaussian"},
        "denoised": {"kind": "denoised", "denoiser": "dncnn", "objective": "mse", "classifier": classifier},
        "tuned": {"kind": "ftcadis", "start": "denoised"},
    }
    raw["predictions"]["base"] = {"method": "denoised", "noise": "gauss-0.50"}
    raw["experiments"]["mnist"] |= {"methods": [method], "noises": ["gauss-0.50"]}
    place = f"experiments.mnist.methods: {method} at gauss-0.50 on mnist: "
    assert [line for line in problems(raw) if line.startswith(place + expected)], problems(raw)


@pytest.mark.parametrize(
    ("only", "settings", "expected"),
    [
        ("test", {"methods": ["own"]}, []),
        (
            "test",
            {"methods": ["plain"]},
            ["methods: plain at gauss-0.25 on mine: there is no train split to learn from; "],
        ),
        (
            "test",
            {"methods": ["own"], "images": "seen"},
            ["images: seen on mine: there is no train split; leave out `only`"],
        ),
        (
            "test",
            {"methods": ["behind"]},
            ["methods: behind at gauss-0.25 on mine: there is no train split to learn from; leave out `only`"],
        ),
        (
            "train",
            {"methods": ["plain"]},
            [
                "dataset: mine has no test split, on which every model is evaluated; leave out `only`",
                "images: all on mine: there is no test split; leave out `only`",
            ],
        ),
    ],
)
def test_a_split_that_is_not_there_is_needed_by_nobody(raw, only, settings, expected):
    raw["datasets"]["mine"] = {"kind": "image_folder", "classes": 10, "shape": [3, 32, 32], "only": only}
    raw["images"]["seen"] = {"split": "train"}
    raw["denoisers"]["ranged"] = {"kind": "drunet", "train": {"epochs": 1}}
    raw["methods"] |= {
        "own": {"kind": "external", "checkpoint": "own.pth"},
        "plain": {"kind": "gaussian"},
        "behind": {"kind": "denoised", "denoiser": "ranged", "classifier": {"method": "own", "noise": "clean"}},
    }
    entry = {"dataset": "mine", "model": "resnet20", "images": "all", "noises": ["gauss-0.25"], "certificates": ["np"]}
    raw["experiments"]["mine"] = {**entry, "radii": [0.25], **settings}
    with pytest.raises(ConfigError) if expected else nullcontext() as caught:
        load(raw)
    found = caught.value.problems if expected else []
    assert len(found) == len(expected) and all(
        line.startswith(f"experiments.mine.{start}") for line, start in zip(found, expected, strict=True)
    ), found


def test_images_of_a_split_that_imagenet_is_said_not_to_have_are_named(raw):
    """Its sizes are known, those of the splits that are there alone."""
    raw["datasets"]["imagenet"]["only"] = "test"
    raw["images"]["every100"]["split"] = "train"
    assert "experiments.imagenet.images: every100 on imagenet: there is no train split" in "\n".join(problems(raw))


def test_a_checkpoint_to_start_from_is_an_input_and_no_name_in_the_spec(raw):
    run = ("mnist", "lenet", "gaussian", "gauss-0.50", 7)
    fresh = load(raw)
    raw["methods"]["gaussian"]["start_from"] = "clean/{noise}/{sigma:.2f}/{seed}.pth"
    tuned = load(raw)
    assert fresh.checkpoint("gaussian", "mnist", "gauss-0.50", 7) is None
    assert tuned.checkpoint("gaussian", "mnist", "gauss-0.50", 7) == "clean/gauss-0.50/0.50/7.pth"
    assert tuned.model_spec(*run) == {**fresh.model_spec(*run), "fine_tuned": True}
    raw["methods"]["gaussian"]["start_from"] = "{level}.pth"
    assert problems(raw)[0].startswith(
        "methods.gaussian.start_from: has unknown {level}; known: {noise}, {sigma}, {seed}"
    )


def test_exact_arithmetic_is_refused_where_it_cannot_be(raw):
    raw["samplers"]["n10000"]["arithmetic"] = "exact"
    study = load(raw)
    for sampler, arithmetic in (("n10000", "exact"), ("cohen", "float")):
        spec = study.counts_spec(CountsRun("digits", "small", "gaussian-quick", "gauss-0.25", 0, "all", sampler))
        assert spec["sampler"]["arithmetic"] == spec["presample"]["arithmetic"] == arithmetic
    raw["samplers"]["n10000"]["arithmetic"] = "grid"
    assert any(line.startswith("samplers.n10000.arithmetic: ") for line in problems(raw))
    raw["samplers"]["n10000"]["arithmetic"] = "exact"
    raw["noises"]["loud"] = {"kind": "gaussian", "sigma": 15.0}
    raw["experiments"]["digits"]["noises"] = ["loud"]
    raw["experiments"]["digits"]["certificates"] = ["np-10k"]
    found = [line for line in problems(raw) if line.startswith("experiments.digits.certificates")]
    assert any("np-10k at loud: exact noise reaches up to sigma 14, got 15" in line for line in found)


def test_a_certificate_must_know_exact_noise(raw):
    class Other(CertificateSpec):
        kind: str = "other"
        alpha: float = 0.001

    study = load(raw)
    noise, sampler = study.noises["gauss-0.25"], study.samplers["n10000"]
    exact = sampler.model_copy(update={"arithmetic": "exact"})
    assert exact_problems(Other(sampler="x"), noise, sampler) == []
    (problem,) = exact_problems(Other(sampler="x"), noise, exact)
    assert problem == "certificates of kind other cannot use exact noise; use a sampler with `arithmetic: float`"
    inner = spec_class("certificate", "inscribed")
    assert exact_problems(inner(norm="linf", sampler="x", of={"kind": "neyman_pearson"}), noise, exact) == []
    assert len(exact_problems(inner(norm="linf", sampler="x", of={"kind": "dsrs"}), noise, exact)) == 1


def test_a_table_states_radii_in_one_norm(raw):
    raw["certificates"]["inf"] = {
        "kind": "inscribed",
        "norm": "linf",
        "sampler": "cohen",
        "of": {"kind": "neyman_pearson"},
    }
    raw["experiments"]["digits"]["certificates"] = ["inf"]
    run = next(load(raw).runs("digits"))
    assert load(raw).certificate_spec(run)["certificate"]["of"]["bound"] == "plain"
    raw["experiments"]["digits"]["certificates"] = ["np", "inf"]
    assert any("radii in l2 and linf do not fit one table" in line for line in problems(raw))


def test_a_radius_that_no_certificate_says_anything_about_is_refused(raw):
    raw["samplers"]["early"] = {"kind": "decide", "radii": [0.1, 0.5]}
    raw["certificates"]["early"] = {"kind": "sequential", "sampler": "early"}
    experiment = raw["experiments"]["digits"]
    experiment |= {"certificates": ["early"], "radii": [0.1, 0.3, 0.5]}
    (problem,) = problems(raw)
    assert "experiments.digits.radii: no certificate says anything at 0.3" in problem and "0.1, 0.5 alone" in problem
    experiment["radii"] = [0.1, 0.5 + 1e-12]
    load(raw)
    experiment |= {"certificates": ["early", "np"], "radii": [0.1, 0.3, 0.5]}
    load(raw)


@pytest.mark.parametrize(
    ("experiment", "published", "line"),
    [
        (
            "fmnist",
            {"dataset": "mnist", "arch": "lenet"},
            "published.data: the published numbers are of mnist, not of fmnist; ",
        ),
        (
            "cifar10",
            {"dataset": "cifar10", "arch": "cifar_resnet20"},
            "published.model: the published networks are cifar_resnet20, not cifar_resnet110; ",
        ),
    ],
)
def test_published_numbers_of_something_else_must_be_said_to_be(raw, experiment, published, line):
    raw["experiments"][experiment]["published"] = published
    (problem,) = problems(raw)
    assert problem.startswith(f"experiments.{experiment}.{line}say what ours ")
    raw["experiments"][experiment]["published"] |= {"data": "others", "model": "another"}
    assert load(raw).table_spec(experiment)["published_as"]


def test_a_recipe_of_another_dataset_than_the_published_one_is_not_the_papers(raw):
    raw["methods"]["gaussian"] = {"kind": "gaussian", "preset": "paper", "preset_dataset": "mnist"}
    found = load(raw).table_spec("cifar10")["published_as"]["gaussian"]
    assert set(found.values()) == {""}
    assert set(load(raw).table_spec("mnist")["published_as"]["gaussian"].values()) == {"gaussian"}


def test_a_line_made_elsewhere_is_not_called_like_a_method(raw, tmp_path):
    with_foreign(raw, tmp_path, TABLE)
    load(raw)
    raw["experiments"]["digits"]["foreign"][0]["label"] = load(raw).experiments["digits"].methods[0]
    assert any("has the label " in line and "as our method" in line for line in problems(raw))


PAIRED = {"noises": ["gauss-0.50", "ggauss"], "certificates": ["np", "two"], "methods": ["gaussian-quick"]}


def with_preview(raw, sampler="pilot", **changes):
    raw["samplers"] |= {"pilot": {"kind": "pilot"}, "every": {"kind": "enumerated"}}
    raw["experiments"]["mnist"] |= {"preview": {"sampler": sampler}, **changes}
    return raw


def test_an_estimate_is_of_every_model_once(raw):
    study = load(with_preview(raw, certificates=["np", "fast"], seeds=[0, 1]))
    runs = study.preview_runs("mnist")
    assert len(runs) == len(set(runs)) == 7 * 3 * 2 and {run.sampler for run in runs} == {"pilot"}
    spec = study.preview_spec("mnist")
    assert (spec["n"], spec["alpha"], spec["norm"]) == (100_000, 0.001, "l2")
    assert spec["runs"][0]["spec"] == study.counts_spec(runs[0])
    assert study.report_spec("mnist")["preview"] == spec and study.report_spec("digits")["preview"] is None
    assert study.preview_runs("digits") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "pilots"}, "experiments.mnist.preview.sampler: no entry 'pilots' in samplers"),
        ({"sampler": "every"}, "experiments.mnist.preview: at gauss-0.25: sampler: enumerated counts every outcome"),
        (
            {"noises": ["flat"]},
            "experiments.mnist.preview: at flat: norm: no l2 radius is known under noise of kind laplace",
        ),
    ],
)
def test_estimates_that_cannot_be_are_named(raw, changes, message):
    raw["noises"]["flat"] = {"kind": "laplace", "sigma": 0.5}
    assert any(line.startswith(message) for line in problems(with_preview(raw, **changes)))


@pytest.fixture
def paired(raw):
    """Two laws and two certificates, of which the one from two bounds is known under Gaussian noise alone."""
    raw["noises"]["ggauss"] = {"kind": "generalized_gaussian", "k": 10, "sigma": 0.5}
    raw["certificates"]["two"] = {"kind": "neyman_pearson", "sampler": "cohen", "alpha": 0.001, "bound_form": "two"}
    raw["experiments"]["digits"] |= PAIRED
    return raw


def test_pairs_that_do_not_fit_are_left_out_where_asked_for(paired):
    (line,) = problems(paired)
    assert line.startswith(
        "experiments.digits.certificates: two at ggauss: bound_form: no l2 radius from two bounds is known"
    )
    paired["experiments"]["digits"]["pairs"] = "possible"
    study = load(paired)
    found = [(run.noise, run.certificate) for run in study.runs("digits")]
    assert found == [("gauss-0.50", "np"), ("ggauss", "np"), ("gauss-0.50", "two")]
    assert [(run["noise"], run["certificate"]) for run in study.table_spec("digits")["runs"]] == found


@pytest.mark.parametrize(
    ("left", "message"),
    [
        ({"certificates": ["two"]}, "noises: ggauss fits none of the certificates .two: bound_form: no l2 radius"),
        ({"noises": ["ggauss"]}, "certificates: two fits none of the noises .ggauss: bound_form: no l2 radius"),
    ],
)
def test_each_noise_and_certificate_must_keep_a_pair(paired, left, message):
    paired["experiments"]["digits"] |= {"pairs": "possible", **left}
    (line,) = problems(paired)
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("experiments.digits.radi", [0.25], "did you mean radii?"),
        ("experiments.digits.methods", ["gausian"], "did you mean gaussian?"),
        ("methods.gaussian.kind", "gausian", "did you mean gaussian?"),
        ("methods.gaussian.epohcs", 3, "did you mean epochs?"),
        ("methods.gaussian.preset", "papre", "did you mean paper?"),
        ("methods.unused", {"kind": "gaussian", "preset": "papre"}, "did you mean paper?"),
        ("methods.unused", {"kind": "gaussian", "preset": 3}, "methods.unused.preset: there is no preset 3"),
        ("certificates.fast.sampler", "fats", "did you mean fast?"),
        ("experimets", {}, "did you mean experiments?"),
        ("targets", ["digit"], "did you mean digits?"),
        ("experiments.digits.methods", "sevn", "did you mean seven?"),
    ],
)
def test_what_is_misspelt_is_suggested(raw, path, value, message):
    *sections, key = path.split(".")
    place = raw
    for section in sections:
        place = place[section]
    place[key] = value
    assert any(message in line for line in problems(raw)), problems(raw)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("certificates", "np-4k", "there is no list 'np-4k'"),
        ("recipe", "digts", "there is no recipe 'digts'; known: quick, digits, seven; did you mean digits?"),
    ],
)
def test_a_list_or_a_recipe_that_there_is_not_is_all_that_is_said_of_an_entry(raw, key, value, message):
    """What its recipe says is there all the same; what one says that there is not may be all that is missing."""
    raw["experiments"]["digits"][key] = value
    (line,) = problems(raw)
    assert line.startswith(f"experiments.digits.{key}: {message}")


def test_a_diagnosis_whose_folder_is_another_ones_page_is_refused(raw):
    entry = {
        "dataset": "digits",
        "model": "small",
        "noises": ["clean"],
        "methods": ["gaussian-quick"],
        "knowledge": "k",
    }
    raw["knowledge"], raw["diagnoses"] = {"k": {}}, {"deep": entry, "deep.html": entry}
    (line,) = problems(raw)
    assert line.startswith("diagnoses.deep.html: its folder would be called like a file of diagnoses.deep")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("methods: {gaussian: {lr: 1e-3}}", "lr: should be a valid number, got '1e-3'; .*: write 0.001$"),
        ("methods: {gaussian: {lr: 1e-7}}", "write 1.0e-07$"),
        ("methods: {gaussian: {lr: 'fast'}}", "got 'fast'$"),
        ("methods: {gaussian: {epochs: 1e2}}", "write 100$"),
        ("samplers: {n1000: {n: '100,000'}}", "write 100000$"),
        ("samplers: {n1000: {n: '1,5'}}", "got '1,5'$"),
        ("samplers: {n1000: {n: 1.0e+5}}", "got 100000.0; that is a fraction for YAML and JSON: write 100000$"),
        ("methods: {gaussian: {lr: '0,05'}}", "write 0.05$"),
        ("methods: {gaussian: {lr: '1,000'}}", "got '1,000'$"),
        ("experiments: {digits: {methods: [on]}}", "got True; YAML takes no, off, yes and on for truth values"),
        (
            "experiments: {digits: {title: 2024-01-01}}",
            "experiments.digits: .*YAML takes 2024-01-01 for a date: quote it",
        ),
        ("methods: {off: {kind: gaussian}}", "methods.False: .*quote numbers, and the words no, off, yes, on and null"),
        (f"methods: {{{'x' * 101}: {{kind: gaussian}}}}", "up to 100 letters"),
        ("models: {small: {resize: 0}}", "^models.small.resize.size: should be greater than 0, got 0$"),
        ("knowledge: {k: {etas: [0.0]}}", "^knowledge.k.etas.0: should be greater than 0, got 0.0$"),
        ("knowledge: {k: {etas: [0.5, 0.5]}}", "^knowledge.k.etas: lists something twice, got"),
        ("knowledge: {k: {losses: [ce, ce]}}", "^knowledge.k.losses: lists something twice, got"),
        ("knowledge: {k: {layers: all}}", "^knowledge.k.layers: should be 'stages' or 'blocks', got 'all'$"),
        (
            "datasets: {t: {kind: text_table, task: rte, text: 1.5}}",
            "^datasets.t.text: should be a valid string, got 1.5$",
        ),
    ],
)
def test_what_yaml_reads_otherwise_than_it_looks_is_explained(raw, tmp_path, written, message):
    path = tmp_path / "overlay.yaml"
    path.write_text(written)
    found = problems(merged([ROOT / "config.yaml", path]))
    assert any(re.search(message, line) for line in found), found
    assert yaml.safe_load("1.0e-07") == 1e-07


@pytest.mark.parametrize(
    ("number", "value", "base"), [("0300", 192, 8), ("-017", -15, 8), ("1:30", 90, 60), ("1:30.5", 90.5, 60)]
)
def test_numbers_in_other_bases_are_refused(tmp_path, number, value, base):
    """`n: 0300` would be 192 draws, and nothing else would say so."""
    assert yaml.safe_load(number) == value
    path = tmp_path / "overlay.yaml"
    path.write_text(f"samplers:\n  few: {{kind: fixed, n: {number}}}\n")
    line = f"samplers.few.n: YAML reads {number} in line 2 of {path} as a number in base {base}; write a decimal number"
    assert [found.startswith(line) for found in read_otherwise(path)] == [True]
    with pytest.raises(ConfigError, match="YAML reads"):
        merged([path])


@pytest.mark.parametrize("number", ["0", "00", "0.25", "089", "0x12c", "0o17", "1e5", "1_000", "'0300'", "2024-01-01"])
def test_what_is_no_number_in_another_base_is_left_alone(tmp_path, number):
    path = tmp_path / "overlay.yaml"
    path.write_text(f"a: [{number}]")
    assert list(read_otherwise(path)) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n", ["b.c: is written in line 3 and again in line 5", "a: "]),
        ("a: [{k: 1}, {k: 1, k: 2}]", ["a.1.k: is written in line 1 and again in line 1"]),
        ("a: &x {k: 1, k: 2}\nb: *x\nc: [*x, *x]\n", ["a.k: is written in line 1"]),
        ("a: {k: 1}\nb: {k: 1}\n", []),
        ("a: [", []),
        ("", []),
    ],
)
def test_a_key_that_is_written_twice_is_named(raw, tmp_path, text, lines):
    """YAML's readers keep the last one and lose the others: a whole section may be gone."""
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    found = list(read_otherwise(path))
    assert len(found) == len(lines) and all(line.startswith(start) for line, start in zip(found, lines, strict=True))
    with pytest.raises(ConfigError) if lines else nullcontext():
        load(raw, files=[path])
    if lines:
        with pytest.raises(ConfigError, match="twice.yaml"):
            merged([path])
