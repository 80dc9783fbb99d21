"""The web application without a browser: the way from models to a certificate, whose numbers are those of the library."""

import html
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import numpy as np
import pandas as pd
import pytest
from report_samples import drawn_by, line
from web_examples import TOKEN, Web, picture, results_with

from certflow import SmoothedClassifier
from certflow.certify.memory import certify, ready, votes
from certflow.certify.predict import prediction_table
from certflow.doors import catalogue
from certflow.doors.bring import from_results
from certflow.doors.commands.web import THREADS
from certflow.doors.web.asked import AskedBatch, AskedCertify, Draws, Picture
from certflow.doors.web.cards import Cards, _table
from certflow.doors.web.law import law_of
from certflow.doors.web.limits import radii
from certflow.doors.web.settings import Settings
from certflow.doors.web.splits import Splits, spaced
from certflow.doors.web.view import outcome, shown
from certflow.doors.web.ways import ways
from certflow.doors.web.worker import ERRANDS, Full
from certflow.files.artefact import sidecar, write_table
from certflow.files.provenance import Provenance
from certflow.kinds.registry import spec_class
from certflow.report.numbers import down


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return results_with(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def web(results):
    web = Web(results)
    yield web
    web.close()


@pytest.fixture(scope="module")
def done(web):
    return web.ended(web.certify(way="anytime.l2"))


def text(answer) -> str:
    return answer.get_data(as_text=True)


def image_of(web, index):
    test = web.site.splits.test(web.site.cards.all()[0].dataset)
    return test.read(np.array([index]))


def test_every_page_answers(web, done):
    pages = ["/", f"/models/{web.model}", f"/models/{web.model}/batch", "/models/new", "/about", f"/jobs/{done.id}"]
    for page in pages:
        answer = web.get(page)
        assert answer.status_code == 200 and "<h1>" in text(answer), page
    assert web.get("/healthz").json["ok"]
    assert web.get("/form").location == "/"
    assert web.get("/?q=nothing+like+that").status_code == 200


def test_the_addresses_for_programs_are_those_there_are(web):
    rules = web.app.url_map.iter_rules()
    there = {
        f"{way} {re.sub('<[^>]*>', '<id>', rule.rule)}" for rule in rules for way in rule.methods & {"GET", "POST"}
    }
    named = re.findall(r"<dt><code>(.*)</code></dt>", text(web.get("/about")))
    assert len(named) == 10 and {html.unescape(one) for one in named} <= there
    programs = {one for one in there if one.split()[1].startswith("/api/")}
    assert programs <= {html.unescape(one) for one in named}
    documented = (Path(__file__).resolve().parents[2] / "docs" / "web.md").read_text()
    assert all(f"`{one.split()[1]}`" in documented or f"`{one}`" in documented for one in programs)


def test_pages_need_nothing_from_elsewhere(web, done):
    for page in ("/", f"/models/{web.model}", f"/jobs/{done.id}", "/about"):
        body = text(web.get(page))
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', body)
        assert "style=" not in body and "onclick" not in body


def test_without_scripts_the_page_asks_again_until_it_is_done(web, done):
    assert "refresh" not in text(web.get(f"/jobs/{done.id}"))
    name = web.certify(n="100000")
    assert '<noscript><meta http-equiv="refresh"' in text(web.get(f"/jobs/{name}"))
    web.post(f"/jobs/{name}/stop")
    assert web.ended(name).status.state == "stopped"


def test_a_fixed_certificate_is_the_librarys(web, results):
    job = web.ended(web.certify(way="neyman_pearson.l2", n="1000", seed="11", index="7"))
    brought = from_results(web.site.cards.all()[0].path)
    smoothed = SmoothedClassifier(brought.model, brought.noise, device="cpu")
    row = smoothed.certify(image_of(web, 7), n0=100, n=1000, seed=11, indices=[7], quiet=True).iloc[0]
    moment = job.moments[-1]
    assert moment["valid"] and not job.moments[0]["valid"]
    assert (moment["radius"], moment["predict"], moment["p_lower"]) == (row["radius"], row["predict"], row["p_lower"])
    assert dict(moment["top"])[moment["selected"]] == row["k"]


def test_the_lines_on_the_page_give_its_numbers(web, done, monkeypatch, tmp_path, capsys):
    body = text(web.get(f"/jobs/{done.id}"))
    lines = html.unescape(re.search(r'<pre id="python"[^>]*>(.*?)</pre>', body, re.DOTALL)[1])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.npy").write_bytes(web.get(f"/jobs/{done.id}/download/image.npy").data)
    names: dict = {}
    exec(lines, names)  # noqa: S102  # what people do with it
    row, moment = names["found"].table.iloc[0], done.moments[-1]
    assert (row["n"], row["radius"], row["k"]) == (
        moment["drawn"],
        moment["radius"],
        dict(moment["top"])[moment["selected"]],
    )
    assert "certflow certify" in body and "--seed 5" in body


def test_the_form_says_how_long_it_takes_once_that_is_known(web, done):
    assert re.search(r"100,000 draws \(about \d+ (s|min)\)", text(web.get(f"/models/{web.model}")))


def test_the_largest_radius_is_that_of_the_draws_that_are_made(web):
    job = web.ended(web.certify(n="5", n0="5", alpha="0.4"))
    law = law_of(job.asked.draws, web.site.cards.all()[0])
    (most,) = radii(law, np.array([5]), np.array([5]))
    assert 0 < most and f"at most {down(most)} in 5 draws" in text(web.get(f"/jobs/{job.id}"))


def test_downloads(web, done):
    table = text(web.get(f"/jobs/{done.id}/download/table.tsv")).splitlines()
    row = dict(zip(table[0].split("\t"), table[1].split("\t"), strict=True))
    assert float(row["radius"]) == done.moments[-1]["best"] and int(row["n"]) == 2000
    found = json.loads(web.get(f"/jobs/{done.id}/download/job.json").data)
    assert found["asked"]["draws"]["seed"] == 5 and len(found["moments"]) == len(done.moments)
    assert web.get(f"/jobs/{done.id}/download/counts.npz").status_code == 200
    assert web.get(f"/jobs/{done.id}/download/passwd").status_code == 404
    assert web.get(f"/models/{web.model}/bundle").mimetype == "application/zip"
    assert web.get(f"/download_weights/{web.model}").data[:1] != b"<"


def test_pictures_of_a_job(web, done):
    for name in ("image-0", "noisy-0", "noisy-2"):
        assert web.get(f"/jobs/{done.id}/{name}.png").data.startswith(b"\x89PNG")
    for name in ("image-1", "noisy-9", "denoised-0", "attacked-0"):
        assert web.get(f"/jobs/{done.id}/{name}.png").status_code == 404


def test_going_on_makes_the_draws_that_a_longer_run_makes(web):
    job = web.ended(web.certify(n="500", seed="8"))
    web.post(f"/jobs/{job.id}/further")
    longer = web.ended(job.id)
    whole = web.ended(web.certify(n="5000", seed="8"))
    assert longer.moments[-1]["drawn"] == 5000
    assert longer.moments[-1]["top"] == whole.moments[-1]["top"]


def test_wrong_fields_are_named_and_the_form_is_kept(web):
    path = f"/models/{web.model}/certify"
    answer = web.post(path, {"index": "3", "n": "2000", "alpha": "0.9", "n0": "many", "number": "100000", "seed": "4"})
    body = text(answer)
    assert answer.status_code == 400
    assert all(f'id="{name}-error"' in body for name in ("alpha", "n0", "number"))
    assert 'value="4"' in body and "many" in body
    assert "possible: anytime.l2" in text(web.post(path, {"index": "1", "way": "nothing.l2"}))
    for sigma in ("1e308", "1e7", "inf", "nan"):
        body = text(web.post(path, {"index": "1", "sigma": sigma}))
        assert 'id="sigma-error"' in body, sigma


@pytest.fixture
def results_of_cards(tmp_path):
    return results_with(tmp_path)


def test_a_drawing_is_what_comes_from_the_pad_whatever_a_file_is_called(web):
    asked = {"n": "500", "from": "upload"}
    names = {}
    for name, source in (("drawing.png", "upload"), ("other.png", "upload"), ("other.png", "draw")):
        data = {"file": (io.BytesIO(picture()), name), **asked, "from": source}
        answer = web.post(f"/models/{web.model}/certify", data, content_type="multipart/form-data")
        job = web.ended(answer.location.rsplit("/", 1)[1])
        names[name, source] = job.asked.picture.source, job.pixels()
    assert [names[key][0] for key in names] == ["upload", "upload", "drawing"]
    assert (names["drawing.png", "upload"][1] == names["other.png", "upload"][1]).all()
    assert (names["other.png", "draw"][1] != names["other.png", "upload"][1]).any(), "all of a drawing counts"


@pytest.mark.parametrize(("total", "count"), [(900, 500), (97, 50), (445, 300), (10, 10), (3, 7), (500, 20)])
def test_images_are_spaced_over_all_of_a_split(total, count):
    found = spaced(total, count)
    assert len(set(found)) == min(count, total) and found == sorted(found) and found[0] == 0
    assert max(np.diff([*found, total])) - min(np.diff([*found, total])) <= 1
    moved = spaced(total, count, start=total - 1)
    assert len(set(moved)) == len(found) and max(moved) == total - 1
    assert spaced(500, 20) == list(range(0, 500, 25))


def test_an_upload_is_what_is_certified(web):
    data = {"file": (io.BytesIO(picture()), "../../etc/photo of me.png"), "n": "500", "invert": "1"}
    answer = web.post(f"/models/{web.model}/certify", data, content_type="multipart/form-data")
    job = web.ended(answer.location.rsplit("/", 1)[1])
    assert job.asked.picture.name == "photo of me.png" and "resized from 20 × 30 to 8 × 8" in job.asked.picture.rendered
    assert job.pixels().shape == (1, 1, 8, 8) and job.asked.picture.label is None
    shown = web.post(f"/models/{web.model}/render", {**data, "file": (io.BytesIO(picture()), "x.png")})
    assert shown.data.startswith(b"\x89PNG")


def test_the_model_offers_what_its_noise_allows(web):
    card = web.site.cards.all()[0]
    names = [way.name for way in ways(card.noise, card.dim)]
    assert names[:2] == ["anytime.l2", "neyman_pearson.l2"] and "dsrs.l2" in names
    assert not [name for name in names if name.endswith("linf")]


def test_a_card_shows_no_accuracy_at_radii_that_nobody_asked_about(tmp_path):
    decided = drawn_by(line(images=40), spec_class("sampler", "decide").small(radii=[0.0, 0.25]))
    for number, (one, known) in enumerate(((decided, [0.25]), (line(images=40), [0.25, 0.5]))):
        entry = one.seeds[0]
        spec = {**entry.provenance.spec, "images": {"split": "test"}}
        path = tmp_path / f"{number}.tsv"
        write_table(path, entry.table, replace(entry.provenance, spec=spec, parents={"model": "m"}))
        assert list(_table(path, 0.0, "m").at) == known


def test_data_that_come_after_the_first_page_are_found(tmp_path):
    dataset = spec_class("dataset", "image_folder")(root=str(tmp_path / "pictures"), classes=2, shape=[3, 20, 30])
    splits = Splits(tmp_path)
    assert splits.test(dataset) is None
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        (tmp_path / "pictures" / name / "1.png").write_bytes(picture((30, 20)))
    found = splits.test(dataset)
    assert found is not None and len(found) == 2 and splits.test(dataset) is found


@pytest.mark.parametrize("way", ["dsrs.l2", "sequential.l2"])
def test_ways_that_do_not_grow(web, way):
    job = web.ended(web.certify(way=way, n="600", seed="3"))
    assert job.status.state == "done", job.status
    card = web.site.cards.all()[0]
    offered = next(one for one in ways(card.noise, card.dim) if one.name == way)
    sampler, certificate = offered.specs({"n0": 100, "n": 600, "alpha": 0.001, "arithmetic": "float"})
    model = from_results(card.path).model
    wanted = certify(model, image_of(web, 3), card.noise, sampler, certificate, seed=3, index=[3], device="cpu").table
    assert job.moments[-1]["radius"] == wanted["radius"].iloc[0]
    assert web.get(f"/jobs/{job.id}").status_code == 200
    assert re.search(r"\S\.$", web.get(f"/jobs/{job.id}/live?once").json["parts"]["said"])


def test_a_class_that_holds_at_radius_0_alone_is_certified(web):
    """As the certificate says, and the table of a batch; an image that holds nothing abstains."""
    card = web.site.cards.all()[0]
    asked = AskedCertify(model=card.id, draws=Draws(way="sequential.l2"), picture=Picture(label=3))
    counted = {
        "drawn": 400,
        "top": [[3, 300]],
        "rest": 100,
        "selected": 3,
        "p_hat": 0.75,
        "p_lower": 0.5,
        "p_upper": None,
    }
    for predict, heading, said in ((3, "Certified as class 3", "radius 0.000"), (-1, "Abstains", "abstains")):
        job = web.site.jobs.create(asked, np.zeros((1, 1, 8, 8), np.uint8))
        job.add_moment({**counted, "predict": predict, "radius": 0.0, "best": 0.0, "valid": True, "seconds": 1.0})
        job.end("done")
        assert shown(job, card).heading.startswith(heading) and outcome(job) == said
        row = text(web.get(f"/jobs/{job.id}/download/table.tsv")).splitlines()[1].split("\t")
        assert row[:5] == ["0", "3", str(predict), "0.0", str(int(predict == 3))]
        assert heading in text(web.get(f"/jobs/{job.id}")) and web.post(f"/jobs/{job.id}/attack").status_code == 409


def test_a_job_of_a_certificate_that_there_is_not_any_more_says_so(web):
    """As after an update: neither its page nor that of a batch ends in an error that should not happen."""
    asked = {"model": web.site.cards.all()[0].id, "draws": Draws(way="gone.l2")}
    for job in (AskedCertify(**asked, picture=Picture()), AskedBatch(**asked, pictures=[Picture()])):
        made = web.site.jobs.create(job, np.zeros((1, 1, 8, 8), np.uint8))
        made.end("failed")
        made.add_row({"number": 0, "name": "", "predict": -1, "radius": 0.0})
        answer = web.get(f"/jobs/{made.id}")
        assert answer.status_code == 409 and "&#39;gone.l2&#39; is not possible" in text(answer)
        web.site.jobs.remove(made)


def test_the_api(web):
    listed = web.get("/api/models").json
    assert listed[0]["id"] == web.model
    assert web.get(f"/api/models/{web.model}").json["ways"]
    asked = {"model": web.model, "image": {"index": 3}, "n": 500, "seed": 5}
    answer = web.client.post("/api/jobs", json=asked, headers={"X-Certflow-Token": TOKEN})
    assert answer.status_code == 201
    job = web.ended(answer.json["id"])
    assert web.get(answer.location).json["moment"]["drawn"] == 500
    told = text(web.get(f"/api/jobs/{job.id}/events"))
    assert told.count("event: moment") == len(job.moments) and "event: end" in told
    later = text(web.get(f"/api/jobs/{job.id}/events", headers={"Last-Event-ID": "0"}))
    assert later.count("event: moment") == len(job.moments) - 1
    anew = text(web.get(f"/api/jobs/{job.id}/events", headers={"Last-Event-ID": "9" * 5000}))
    assert anew.count("event: moment") == len(job.moments)
    wrong = web.client.post("/api/jobs", json={**asked, "alpha": 2}, headers={"X-Certflow-Token": TOKEN})
    assert wrong.status_code == 400 and "alpha" in wrong.json["error"]


def told_at_once(web, place: str, **asked):
    """The answer to a program."""
    given = {"model": web.model, "image": {"index": 3}, "n": 200, "seed": 5, **asked}
    return web.client.post(f"/api/{place}", json=given, headers={"X-Certflow-Token": TOKEN})


def test_predictions_and_scores_are_the_librarys(web):
    """For programs, at once: without a job, and with the votes that the command line counts."""
    card = web.site.cards.all()[0]
    base = ready(from_results(card.path).model, card.shape, device="cpu")
    voted = votes(base, image_of(web, 3), card.noise, n=200, seed=5, index=[3])
    before = len(web.site.jobs.latest(10**6))
    found, row = told_at_once(web, "predict").json, prediction_table(voted, 0.001).iloc[0]
    assert (found["predict"], found["k"], found["p_value"]) == (row["predict"], row["k"], row["p_value"])
    assert found["correct"] == (found["predict"] == found["label"]) and "radius" not in found
    shares = told_at_once(web, "scores").json["scores"]
    assert np.array_equal(shares, voted["counts"][0] / 200)
    assert len(web.site.jobs.latest(10**6)) == before


def test_a_decimal_comma_is_one(web):
    """0,25 was a noise level of 25."""
    job = web.site.jobs.get(web.certify(sigma="0,25", alpha="0,01", n="1,000"))
    assert (job.asked.draws.sigma, job.asked.draws.alpha, job.asked.draws.n) == (0.25, 0.01, 1000)


@pytest.mark.parametrize("sent", [b"{", b"", b"[" * 100_000, b"[]", b"null", b'{"model": "\xff"}'])
def test_what_is_no_json_object_is_answered_so(web, sent):
    headers = {"X-Certflow-Token": TOKEN, "Content-Type": "application/json"}
    answer = web.client.post("/api/jobs", data=sent, headers=headers)
    assert (answer.status_code, answer.json["error"]) == (400, "Send a JSON object.")


@pytest.mark.parametrize("image", [{"index": 0}, {"index": "0"}, {"number": 0, "index": 3}, {"number": "", "index": 0}])
def test_the_first_test_image_is_one(web, image):
    """JSON has 0 as a number, which is no missing field."""
    found, first = (told_at_once(web, "predict", image=one) for one in (image, {"index": "0"}))
    assert (
        found.status_code == 200
        and found.json["label"] == first.json["label"] != told_at_once(web, "predict").json["label"]
    )


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"alhpa": 0.1}, "alhpa: no such field; known: model, image, alpha, "),
        ({"image": {"index": 3, "inverted": True}}, "inverted: no such field"),
        ({"image": {"base64": "AAAA", "fit": "stretch"}}, "fit: should be crop or squeeze"),
        ({"sigma": True}, "sigma: should be a number, got True"),
        ({"sigma": 10**400}, "sigma: should be a "),
        ({"sigma": "1,000"}, "sigma: should be a valid number"),
        ({"alpha": "0,6"}, "alpha: should be less than 0.5"),
        ({"n": 5}, "can never predict"),
        ({"n": 20_000}, "less than or equal to 10000"),
        ({"alpha": 0.5}, "alpha"),
        ({"image": {"index": 10**6}}, "choose a test image"),
        ({"image": {"index": "9" * 5000}}, "choose a test image"),
        ({"image": {"base64": "AAAA"}}, "file"),
        ({"image": {"base64": "é"}}, "base64: should be a whole image file"),
        ({"image": {"base64": ["AAAA"]}}, "base64: should be a whole image file"),
        ({"image": {"base64": 7}}, "base64: should be a whole image file"),
        ({"image": 3}, "JSON object"),
    ],
)
def test_predictions_that_cannot_be_are_refused(web, asked, says):
    answer = told_at_once(web, "predict", **asked)
    assert answer.status_code == 400 and says in answer.json["error"]
    assert told_at_once(web, "predict", model="nothing").status_code == 404


def test_a_prediction_is_made_between_jobs_and_given_up_where_one_takes_long(web):
    going, asked = Event(), []
    busy = Thread(target=lambda: web.site.worker.ask(web.model, lambda ready: going.wait(30)))
    busy.start()
    with pytest.raises(Full, match="The job at work takes longer than 0.05 s"):
        web.site.worker.ask(web.model, asked.append, patience=0.05)
    going.set()
    busy.join()
    assert web.site.worker.ask(web.model, lambda ready: ready.card.id) == web.model
    assert not asked and not web.site.worker.errands
    with pytest.raises(ZeroDivisionError):
        web.site.worker.ask(web.model, lambda ready: 1 / 0)


def test_programs_that_wait_leave_threads_for_pages(results):
    """Each holds a thread of the server while it waits; where one more would, it is told at once to ask again."""
    worker, asked = Web(results, start=False).site.worker, []  # as while a job is at work
    waiting = [Thread(target=lambda: pytest.raises(Full, worker.ask, "", asked.append, 9.0)) for _ in range(ERRANDS)]
    for one in waiting:
        one.start()
    while len(worker.errands) < ERRANDS:
        sleep(0.01)
    begun = monotonic()
    with pytest.raises(Full, match="Other requests wait"):
        worker.ask("", asked.append, 9.0)
    assert monotonic() - begun < 1 and ERRANDS + Settings().streams <= THREADS / 2
    for errand in list(worker.errands):
        errand.answer.set_exception(Full())
    for one in waiting:
        one.join()


def test_the_live_page_sends_its_parts(web, done):
    told = text(web.get(f"/jobs/{done.id}/live"))
    found = json.loads(told.split("data: ", 1)[1].split("\n\n")[0])
    assert set(found["parts"]) == {"said", "verdict", "controls", "live", "looks", "after"} and found["ended"]
    assert json.loads(web.get(f"/jobs/{done.id}/live?once").data) == found


def test_a_job_can_be_deleted(web):
    job = web.ended(web.certify(n="300"))
    assert web.post(f"/jobs/{job.id}/delete").status_code == 303
    assert web.get(f"/jobs/{job.id}").status_code == 404


def test_another_noise_level_is_warned_of(web):
    job = web.ended(web.certify(n="300", sigma="0.3"))
    assert "not the one that the model was trained under" in text(web.get(f"/jobs/{job.id}"))
    assert spec_class("noise", "gaussian")(sigma=0.3) == web.site.cards.all()[0].under(job.asked.draws.sigma)


@pytest.mark.parametrize(
    ("kind", "way", "says"),
    [("ssn", "anytime.l1", "wrong with probability at most"), ("dssn", "dssn.l1", "Nothing is left to chance")],
)
def test_noise_of_another_norm_has_its_own_certificates(tmp_path, kind, way, says):
    web = Web(results_with(tmp_path, {"kind": kind, "sigma": 2.0}))
    card = web.site.cards.all()[0]
    assert [one.name for one in ways(card.noise, card.dim)][0] == way
    job = web.ended(web.certify(way=way, n="500", seed="3"))
    assert job.status.state == "done", job.status
    body = text(web.get(f"/jobs/{job.id}"))
    assert "ℓ1 radius" in body and (says in body or job.moments[-1]["best"] == 0)
    assert job.copies()["noisy"].shape[0] == 3
    web.close()


def test_a_card_shows_what_is_certified_of_this_very_model(results_of_cards):
    """Not what lay there before the model was trained anew, nor what was edited."""
    results = results_of_cards
    entry = next(catalogue.models(results))
    path = results / "certificates/digits/small/quick/gaussian-0.05/seed0/all/n100/np.tsv"
    rows = {
        "idx": [0, 1],
        "label": [3, 4],
        "predict": [3, -1],
        "radius": [0.3, 0.0],
        "correct": [1, 0],
        "time": ["0:00", "0:00"],
    }

    def shown(model: str, to: Path = path, **images):
        spec = {"images": {"split": "test", **images}}
        notes = {"claim": {"norm": "linf", "alpha": 0.001, "domain": "real"}}
        write_table(
            to, pd.DataFrame(rows), Provenance(format="certificate", spec=spec, parents={"model": model}, notes=notes)
        )
        return Cards(results, results / "web").all()[0].result

    found = shown(entry.identity)
    assert (found.images, found.accuracy, found.at, found.norm) == (2, 0.5, {0.25: 0.5, 0.5: 0.0}, "linf")
    assert shown("0" * 64) is None
    assert shown(entry.identity, split="train") is None and shown(entry.identity, corruption={"name": "fog"}) is None
    copies = path.parents[2] / "all-fog/n100/np.tsv"
    rows = {name: 3 * values for name, values in rows.items()} | {"idx": list(range(6))}
    shown(entry.identity, to=copies, corruption={"name": "fog"})
    rows = {name: values[:2] for name, values in rows.items()}
    (path.parent / "gone.tsv").symlink_to("nowhere")  # as one that was deleted after it was listed
    assert shown(entry.identity).images == 2  # and not the six copies
    record = sidecar(path)
    record.rename(record.with_suffix(".later"))  # the table is written before its record
    os.utime(path, ns=(2, 2))
    assert Cards(results, results / "web").all()[0].result is None
    record.with_suffix(".later").rename(record)
    assert Cards(results, results / "web").all()[0].result.images == 2
    path.write_text(path.read_text().replace("0.3", "9.3"))
    os.utime(path, ns=(1, 1))
    assert Cards(results, results / "web").all()[0].result is None
