"""Jobs of the web application: restarts, stops, the queue, several at once, batches, attacks, and models that are brought."""

import io
import os
import shutil
import time
import zipfile
from random import Random
from threading import Thread

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from web_examples import Web, picture, results_with

from certflow.data.base import DataInfo
from certflow.doors.bring import from_onnx
from certflow.doors.web import bringing, job_pages, trial
from certflow.doors.web.asked import AskedCertify, Draws, Picture
from certflow.doors.web.cards import Cards
from certflow.doors.web.jobs import Jobs
from certflow.doors.web.kept import Rows
from certflow.doors.web.tasks import TASKS
from certflow.errors import ArtefactError, DataError
from certflow.kinds.registry import spec_class
from certflow.models import build
from tools.fuzz.mutations import mutated


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return results_with(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def web(results):
    web = Web(results)
    yield web
    web.close()


def text(answer) -> str:
    return answer.get_data(as_text=True)


def last_counts(job):
    return job.counts()["counts"].tolist()


def until_drawn(job, draws):
    while not job.moments or job.moments[-1]["drawn"] < draws:
        assert not job.ended, job.status
        job.wait(job.version, 1.0)


def test_a_restart_in_the_middle_gives_the_same_counts(results):
    first = Web(results)
    name = first.certify(n="60000", seed="21")
    until_drawn(first.site.jobs.get(name), 1)
    first.close()
    job = Jobs(first.site.settings.own / "jobs").get(name)
    assert job.status.state == "running" and 0 < sum(last_counts(job)) < 60000
    with open(job.folder / "moments.jsonl", "a") as file:  # as a kill leaves it
        file.write('{"drawn": 59999, "to')
    second = Web(results)
    again = second.ended(name)
    whole = second.ended(second.certify(n="60000", seed="21"))
    assert again.status.state == "done" and again.status.interrupted
    assert last_counts(again) == last_counts(whole) and sum(last_counts(whole)) == 60000
    drawn = [moment["drawn"] for moment in again.moments]
    assert drawn == sorted(set(drawn))
    assert "went on after a restart" in text(second.get(f"/jobs/{name}"))
    second.close()


def test_what_a_kill_told_but_did_not_save_is_drawn_again(results):
    web = Web(results)
    job = web.ended(web.certify(n="20000", seed="22"))
    wanted = last_counts(job)
    web.close()
    state = dict(job.counts())
    early = job.moments[len(job.moments) // 2]
    assert state["counts"].sum() > early["drawn"]
    (job.folder / "counts.npz").unlink()  # nothing was saved yet
    job.become("running")
    second = Web(results)
    again = second.ended(job.id)
    assert last_counts(again) == wanted and again.moments[-1]["drawn"] == 20000
    second.close()


def test_stopping_keeps_what_is_certified(web):
    name = web.certify(n="1000000", seed="23")
    job = web.site.jobs.get(name)
    until_drawn(job, 1)
    web.post(f"/jobs/{name}/stop")
    assert web.ended(name).status.state == "stopped"
    drawn = job.moments[-1]["drawn"]
    assert 0 < drawn < 1_000_000 and sum(last_counts(job)) == drawn
    body = text(web.get(f"/jobs/{name}"))
    assert "Go on to 1,000,000 draws" in body
    assert f"spec_class(&#34;sampler&#34;, &#34;fixed&#34;)(n={drawn})" in body


def test_a_preview_is_never_called_certified(web):
    name = web.certify(n="1000000", seed="24", way="neyman_pearson.l2")
    job = web.site.jobs.get(name)
    until_drawn(job, 200)
    web.post(f"/jobs/{name}/stop")
    web.ended(name)
    body = text(web.get(f"/jobs/{name}"))
    assert "not yet a certificate" in body and "preview" in body
    assert "gives class" not in body and "beyond" not in body and ">Attack it<" not in body
    assert "-1" in text(web.get(f"/jobs/{name}/download/table.tsv")).splitlines()[1].split("\t")


def test_the_queue_is_bounded_and_jobs_wait_in_order(results):
    web = Web(results, start=False, queue=2)
    names = [web.certify(n="300", seed="1") for _ in range(2)]
    assert web.get("/healthz").status_code == 503 and web.get("/healthz").json["waiting"] == 2
    full = web.post(f"/models/{web.model}/certify", {"index": "1", "n": "300"})
    assert full.status_code == 429 and full.headers["Retry-After"] and "Too many jobs are waiting" in text(full)
    assert "1 job" not in text(web.get(f"/jobs/{names[0]}")) and "1 job comes first" in text(
        web.get(f"/jobs/{names[1]}")
    )
    assert len(list((web.site.settings.own / "jobs").iterdir())) >= 2
    web.post(f"/jobs/{names[0]}/stop")
    assert web.site.jobs.get(names[0]).status.state == "stopped"
    web.site.worker.thread.start()
    assert web.ended(names[1]).status.state == "done"
    web.close()


def test_too_many_followers_are_told_to_ask_now_and_then(results):
    web = Web(results, start=False, streams=1)
    name = web.certify(n="300")
    held = web.client.get(f"/jobs/{name}/live")
    assert "event: full" in text(web.get(f"/jobs/{name}/live"))
    held.close()
    assert web.site.streams.acquire(blocking=False)
    web.site.jobs.get(name).become("stopped")


def test_an_error_of_a_job_is_said_and_the_next_one_runs(web, monkeypatch):
    def broken(job, ready):
        raise RuntimeError("of a test")

    def short(job, ready):
        raise MemoryError

    monkeypatch.setitem(TASKS, "certify", broken)
    job = web.ended(web.certify(n="300"))
    assert job.status.state == "failed" and "RuntimeError" in text(web.get(f"/jobs/{job.id}"))
    assert "of a test" in (job.folder / "error.txt").read_text()
    monkeypatch.setitem(TASKS, "certify", short)
    assert "memory did not suffice" in web.ended(web.certify(n="300")).status.message
    monkeypatch.undo()
    assert web.ended(web.certify(n="300")).status.state == "done"


def unwritable(path):
    """A folder in a file's place: as on a full disk, nothing can be written there any more."""
    path.unlink(missing_ok=True)
    path.mkdir()


def test_a_job_that_the_disk_does_not_take_fails_alone_and_can_be_tried_again(web):
    job = web.site.jobs.get(web.certify(n="60000", seed="26"))
    until_drawn(job, 1)
    for name in ("counts.npz", "state.json"):
        unwritable(job.folder / name)
    assert web.ended(job.id).status.state == "failed"
    body = text(web.get(f"/jobs/{job.id}"))
    assert "counts.npz: is a folder" in body and "state.json: is a folder" in body
    whole = web.ended(web.certify(n="60000", seed="26"))
    assert whole.status.state == "done" and web.get("/healthz").json["ok"]
    for name in ("counts.npz", "state.json"):
        (job.folder / name).rmdir()
    assert ">Try again<" in text(web.get(f"/jobs/{job.id}"))
    web.post(f"/jobs/{job.id}/further")
    assert web.ended(job.id).status.state == "done" and job.status.message == ""
    assert last_counts(job) == last_counts(whole) and job.moments[-1]["best"] > 0


def test_a_row_that_could_not_be_written_is_not_missed_by_the_next(tmp_path):
    rows = Rows(tmp_path / "table.jsonl", "a" * 12)
    rows.append({"number": 0})
    kept = rows.path.read_bytes()
    unwritable(rows.path)
    with pytest.raises(ArtefactError, match="table.jsonl: could not be written"):
        rows.append({"number": 1})
    rows.path.rmdir()
    rows.path.write_bytes(kept)
    rows.append({"number": 1})
    assert rows.read() == [{"number": 0}, {"number": 1}]


def test_a_job_that_could_not_be_made_leaves_nothing(tmp_path, monkeypatch):
    def full(*given):
        raise ArtefactError("No space left on device")

    monkeypatch.setattr("certflow.doors.web.job.write_kept", full)
    jobs, asked = Jobs(tmp_path / "jobs"), AskedCertify(model="m", draws=Draws(), picture=Picture())
    with pytest.raises(ArtefactError):
        jobs.create(asked, np.zeros((1, 1, 8, 8), np.uint8))
    assert list(jobs.folder.iterdir()) == []


def test_a_start_clears_away_what_a_kill_left_half_made(results):
    web = Web(results, start=False)
    job = web.site.jobs.get(web.certify(n="300"))
    own = web.site.settings.own
    halves = [own / "jobs" / ("a" * 12), own / "models" / ("b" * 12)]
    for folder in (*halves, own / "models" / "notes"):
        folder.mkdir(parents=True)
        (folder / "weights.pth").write_bytes(b"half")
    second = Web(results)
    assert second.ended(job.id).status.state == "done"
    assert not any(folder.exists() for folder in halves) and (own / "models" / "notes").exists()
    second.close()


def test_a_restart_keeps_the_order_of_the_queue(results):
    web = Web(results, start=False)
    made = [web.site.jobs.get(web.certify(n="300")) for _ in range(3)]
    for number, job in enumerate(made):  # however coarse the clock of the disk is
        os.utime(job.folder / "asked.json", (number, number))
    made[0].become("running")  # and so its folder is the last that was written to
    names = [job.id for job in made]
    again = Jobs(web.site.settings.own / "jobs")
    assert [job.id for job in again.unfinished() if job.id in names] == names
    assert [job.id for job in again.latest(10_000) if job.id in names] == names[::-1]
    for job in made:
        web.site.jobs.discard(job)


def test_a_job_whose_folder_was_deleted_is_no_job_any_more(web):
    job = web.ended(web.certify(n="300"))
    shutil.rmtree(job.folder)
    assert web.get(f"/jobs/{job.id}").status_code == 404
    assert web.get("/").status_code == 200


def test_two_pages_that_go_on_with_a_job_queue_it_once(results):
    web = Web(results, start=False, queue=3)
    job = web.site.jobs.get(web.certify(n="300"))
    web.post(f"/jobs/{job.id}/stop")
    assert job.status.state == "stopped" and "Stopped before there was a result" in text(web.get(f"/jobs/{job.id}"))
    for until in (None, 3000):
        web.site.worker.again(job, until)
    assert list(web.site.worker.waiting) == [job] and job.status.until is None
    other = web.site.jobs.get(web.certify(n="300"))
    seen = other.version
    web.post(f"/jobs/{job.id}/stop")
    assert other.version > seen, "those who watch a job hear that it moved on"
    web.post(f"/jobs/{other.id}/stop")


@pytest.mark.parametrize("place", ["", "/live?once"])
def test_a_page_that_is_made_while_its_job_ends_is_made_once_more(results, monkeypatch, place):
    web = Web(results, start=False)
    job = web.site.jobs.get(web.certify(n="300"))
    known = job_pages.attackable
    monkeypatch.setattr(job_pages, "attackable", lambda view: job.end("done") or known(view))
    first = web.get(f"/jobs/{job.id}{place}")
    assert job.ended and ("data-live" in text(first) if place == "" else not first.json["ended"])
    second = web.get(f"/jobs/{job.id}{place}")
    assert "data-live" not in text(second) if place == "" else second.json["ended"]


def test_a_job_that_ends_while_somebody_stops_it_has_ended(tmp_path):
    asked = AskedCertify(model="m", draws=Draws(), picture=Picture())
    job = Jobs(tmp_path).create(asked, np.zeros((1, 1, 2, 2), np.uint8))
    job.become("running")
    with job.changed:  # whoever stops it has to wait here
        stopping = Thread(target=job.touch)
        stopping.start()
        time.sleep(0.2)
        job.end("done")
    stopping.join()
    assert job.status.state == "done"


def test_what_is_known_while_a_page_reads_what_was_known_before_is_kept(tmp_path):
    job = Jobs(tmp_path).create(
        AskedCertify(model="m", draws=Draws(), picture=Picture()), np.zeros((1, 1, 2, 2), np.uint8)
    )
    kept, adding = job.rows["moments"].read, Thread(target=lambda: job.add_moment({"drawn": 1}))

    def read():
        found = kept()
        if adding.ident is None:
            adding.start()
            adding.join(0.2)  # it may have to wait for this reader
        return found

    job.rows["moments"].read = read
    assert job.moments == []
    adding.join()
    assert job.moments == [{"drawn": 1}]


def test_a_model_that_is_brought_while_others_are_listed_is_there(results, monkeypatch):
    cards, listed = Cards(results, results / "web"), []
    forgetting = Thread(target=cards.forget)

    def brought():
        listed.append(None)
        if len(listed) == 1:  # nothing is there yet; it comes now
            forgetting.start()
            forgetting.join(0.2)  # it may have to wait for the listing
        return iter(())

    monkeypatch.setattr(cards, "_brought", brought)
    cards.all()
    forgetting.join()
    cards.all()
    assert len(listed) == 2


def test_a_page_says_that_a_job_is_about_to_stop(results):
    web = Web(results, start=False)
    job = web.site.jobs.get(web.certify(n="300"))
    web.site.worker.waiting.clear()  # it is at work
    job.become("running")
    seen = job.version
    assert 'id="stop"' in text(web.get(f"/jobs/{job.id}"))
    web.post(f"/jobs/{job.id}/stop")
    body = text(web.get(f"/jobs/{job.id}"))
    assert "It stops as soon as" in body and 'id="stop"' not in body and job.version > seen
    job.end("stopped")
    assert ">Go on to 300 draws<" in text(web.get(f"/jobs/{job.id}"))


def test_a_job_that_finds_no_room_after_all_is_not_taken_up_later(results, monkeypatch):
    web = Web(results, start=False, queue=1)
    web.certify(n="300")
    before = len(web.site.jobs.latest(10_000))
    monkeypatch.setattr("certflow.doors.web.takes.room", lambda: None)  # another one came in between
    assert web.post(f"/models/{web.model}/certify", {"index": "1", "n": "300"}).status_code == 429
    assert len(web.site.jobs.latest(10_000)) == before


def test_a_batch_of_test_images(web):
    answer = web.post(f"/models/{web.model}/batch", {"images": "5", "n": "300", "seed": "6"})
    job = web.ended(answer.location.rsplit("/", 1)[1])
    assert [row["idx"] for row in job.table] == [0, 89, 178, 267, 356]
    alone = web.ended(web.certify(index="89", n="300", seed="6"))
    assert job.table[1]["radius"] == alone.moments[-1]["radius"]
    body = text(web.get(f"/jobs/{job.id}"))
    assert "5 of 5 images" in body and "Certified accuracy against radius" in body
    table = text(web.get(f"/jobs/{job.id}/download/table.tsv"))
    assert table.splitlines()[0].startswith("idx\tlabel\tpredict\tradius\tcorrect") and len(table.splitlines()) == 6


def test_a_batch_goes_on_where_a_kill_left_it(results):
    web = Web(results)
    answer = web.post(f"/models/{web.model}/batch", {"images": "4", "n": "300", "seed": "6"})
    job = web.ended(answer.location.rsplit("/", 1)[1])
    rows = job.table
    web.close()
    lines = (job.folder / "table.jsonl").read_text().splitlines(keepends=True)
    (job.folder / "table.jsonl").write_text("".join(lines[:2]) + lines[2][:9])
    job.become("running")
    second = Web(results)
    again = second.ended(job.id)
    drop = lambda row: {key: value for key, value in row.items() if key != "seconds"}  # noqa: E731
    assert list(map(drop, again.table)) == list(map(drop, rows))
    second.close()


@pytest.mark.parametrize("way", ["neyman_pearson.l2", "dsrs.l2"])
def test_what_was_stopped_goes_on(web, way):
    name = web.certify(n="200000", seed="31", way=way)
    job = web.site.jobs.get(name)
    while not (job.status.done or job.moments):
        job.wait(job.version, 1.0)
    web.post(f"/jobs/{name}/stop")
    assert web.ended(name).status.state == "stopped"
    web.post(f"/jobs/{name}/further")
    again, whole = web.ended(name), web.ended(web.certify(n="200000", seed="31", way=way))
    assert again.status.state == "done" and again.moments[-1]["radius"] == whole.moments[-1]["radius"]
    assert last_counts(again) == last_counts(whole)
    web.post(f"/jobs/{name}/further")
    assert job.ended, "what holds at a fixed number of draws does not go beyond it"


def test_a_batch_of_a_zip(web):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../one.png", picture())
        archive.writestr("folder/=two.jpg", picture(kind="JPEG"))
    data = {"file": (io.BytesIO(buffer.getvalue()), "images.zip"), "n": "300"}
    answer = web.post(f"/models/{web.model}/batch", data, content_type="multipart/form-data")
    job = web.ended(answer.location.rsplit("/", 1)[1])
    assert [row["name"] for row in job.table] == ["one.png", "=two.jpg"]
    assert "'=two.jpg" in text(web.get(f"/jobs/{job.id}/download/table.tsv"))
    assert "no labels" in text(web.get(f"/jobs/{job.id}"))


@pytest.fixture(scope="module")
def certified(web):
    """A job whose radius is above 0: the class that most copies get."""
    for index in range(0, 40, 4):
        job = web.ended(web.certify(index=str(index), n="2000", seed="2"))
        if job.moments[-1]["best"] > 0:
            return job
    raise AssertionError("the model certifies nothing")


def test_an_attack_within_the_radius_finds_nothing(web, certified):
    answer = web.post(f"/jobs/{certified.id}/attack")
    job = web.ended(answer.location.rsplit("/", 1)[1], 120)
    rows = job.found["rows"]
    assert job.status.state == "done" and [row["factor"] for row in rows] == [0.5, 1.0, 1.5, 2.0, 3.0]
    assert not any(row["success"] for row in rows if row["factor"] <= 1)
    assert all(row["norm"] <= row["eps"] + 1e-6 for row in rows)
    assert rows[1]["eps"] < certified.moments[-1]["best"]
    for name in ("attacked-0", "change-4"):
        assert web.get(f"/jobs/{job.id}/{name}.png").data.startswith(b"\x89PNG")
    page = text(web.get(f"/jobs/{job.id}"))
    assert "within the certified radius" in page and page.count(">held<") >= 2 and "not settled" not in page
    job.write_found({"rows": [{**rows[0], "after": -1}, *rows[1:]]})  # as if the fresh draws had not settled it
    assert ">not settled<" in text(web.get(f"/jobs/{job.id}"))


def test_only_certificates_are_attacked(web, certified):
    batch = web.post(f"/models/{web.model}/batch", {"images": "1", "n": "300"}).location.rsplit("/", 1)[1]
    assert web.post(f"/jobs/{batch}/attack").status_code == 409


@pytest.fixture(scope="module")
def weights(web):
    """The model's own network as somebody else's checkpoint."""
    state = load_file(web.site.cards.all()[0].path)
    buffer = io.BytesIO()
    torch.save({key.removeprefix("1."): value for key, value in state.items() if key.startswith("1.")}, buffer)
    return buffer.getvalue()


def bring(web, content, name="net.pth", **form):
    data = {"file": (io.BytesIO(content), name), "architecture": "small_conv", "sigma": "0.05", **form}
    return web.post("/models/new", data, content_type="multipart/form-data")


def test_a_model_that_comes_while_another_is_tried_out_is_told_so(web, weights):
    with bringing.ONE:
        answer = bring(web, weights, dataset="digits")
    assert answer.status_code == 429 and answer.headers["Retry-After"]
    assert "Another model is being tried out" in text(answer) and "jobs are waiting" not in text(answer)


def test_what_is_wrong_with_a_model_is_said_of_the_file_that_was_sent(web, weights):
    answer = bring(web, b"hello", dataset="digits")
    assert answer.status_code == 400 and "the file: is a text that begins with" in text(answer)
    answer = bring(web, weights, dataset="digits", architecture="")
    assert answer.status_code == 400 and "architecture: is not given; known: lenet" in text(answer)


def test_a_model_for_images_of_another_shape_is_brought(web):
    wide = DataInfo(classes=10, shape=(2, 8, 8))
    buffer = io.BytesIO()
    torch.save(build(spec_class("model", "small_conv")(), wide)[1].state_dict(), buffer)
    answer = bring(web, buffer.getvalue(), shape="2 8 8", mean="0", sd="1")
    assert answer.status_code == 303, text(answer)
    shutil.rmtree(web.site.cards.get(answer.location.split("/")[2]).path.parent)
    web.site.cards.forget()


def test_a_model_is_brought_examined_and_certified(web, weights):
    answer = bring(web, weights, dataset="digits", name="<b>net.pth")
    assert answer.status_code == 303, text(answer)
    name = answer.location.split("/")[2]
    body = text(web.get(answer.location))
    assert "right under noise" in body and "&lt;b&gt;net" in body and "<b>net" not in body
    made = web.post(f"/models/{name}/certify", {"index": "3", "n": "1000", "seed": "5"}).location.rsplit("/", 1)[1]
    job = web.ended(made)
    assert job.status.state == "done", job.status
    assert web.get(f"/jobs/{made}").status_code == 200
    path = web.site.cards.get(name).path
    path.write_bytes(path.read_bytes() + b"x")
    web.site.ready.held.clear()
    spoilt = web.ended(web.post(f"/models/{name}/certify", {"index": "3"}).location.rsplit("/", 1)[1])
    assert spoilt.status.state == "failed" and "is not the file that was uploaded" in spoilt.status.message
    shutil.rmtree(path.parent)
    web.site.cards.forget()
    assert "not there any more" in text(web.get(f"/jobs/{made}"))
    assert web.get(f"/jobs/{made}/live?once").json["gone"] and "gone" in text(web.get(f"/jobs/{made}/live"))
    assert web.post(f"/jobs/{made}/further").status_code == 404
    with pytest.raises(ArtefactError, match="the model is not there any more"):
        web.site.worker.ask(name, lambda ready: ready)
    assert web.post(f"/jobs/{made}/delete").status_code == 303 and web.get(f"/jobs/{made}").status_code == 404


def test_a_model_of_unknown_data(web, weights):
    answer = bring(web, weights, mean="0.5", sd="0.5", shape="1, 8, 8", class_names=",".join("abcdefghij"))
    assert answer.status_code == 303, text(answer)
    name = answer.location.split("/")[2]
    assert "no test images" in text(web.get(answer.location))
    data = {"file": (io.BytesIO(picture()), "x.png"), "n": "300"}
    made = web.post(f"/models/{name}/certify", data, content_type="multipart/form-data").location.rsplit("/", 1)[1]
    assert web.ended(made).status.state == "done"
    assert web.post(f"/models/{name}/certify", {"index": "1"}).status_code == 400
    shutil.rmtree(web.site.cards.get(name).path.parent)
    web.site.cards.forget()


def onnx_file(classes: int, rounds: int | None = None, sides: tuple = (1, 8, 8)) -> bytes:
    """A linear network for images of the digits as an ONNX file, its logits halved and doubled so many times."""
    from onnx import TensorProto, helper, numpy_helper

    value, node, array = helper.make_tensor_value_info, helper.make_node, numpy_helper.from_array
    logits = "logits" if rounds is None else "first"
    weights = np.random.default_rng(0).normal(size=(64, classes)).astype(np.float32)
    nodes, constants = (
        [node("Flatten", ["x"], ["flat"]), node("MatMul", ["flat", "weights"], [logits])],
        [array(weights, "weights")],
    )
    if rounds is not None:
        body = helper.make_graph(
            [
                node("Identity", ["going"], ["still"]),
                node("Add", ["v", "v"], ["twice"]),
                node("Mul", ["twice", "half"], ["w"]),
            ],
            "body",
            [
                value("i", TensorProto.INT64, []),
                value("going", TensorProto.BOOL, []),
                value("v", TensorProto.FLOAT, None),
            ],
            [value("still", TensorProto.BOOL, []), value("w", TensorProto.FLOAT, None)],
            [array(np.float32(0.5), "half")],
        )
        constants += [array(np.int64(rounds), "rounds"), array(np.bool_(True), "yes")]
        nodes.append(node("Loop", ["rounds", "yes", "first"], ["logits"], body=body))
    ends = [value("x", TensorProto.FLOAT, ["b", *sides])], [value("logits", TensorProto.FLOAT, ["b", classes])]
    graph = helper.make_graph(nodes, "network", *ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_an_onnx_file_is_brought_and_certified(web):
    answer = bring(web, onnx_file(10), "net.onnx", dataset="digits")
    assert answer.status_code == 303, text(answer)
    body, name = text(web.get(answer.location)), answer.location.split("/")[2]
    assert "is not examined" in body and "no test images" not in body
    job = web.ended(web.post(f"/models/{name}/certify", {"index": "3", "n": "300"}).location.rsplit("/", 1)[1])
    assert job.status.state == "done", job.status
    shutil.rmtree(web.site.cards.get(name).path.parent)
    web.site.cards.forget()


@pytest.mark.parametrize("form", [{"dataset": "digits"}, {"shape": "1 8 8", "classes": "10"}, {"classes": "10"}])
def test_classes_that_a_file_does_not_have_are_refused(web, form):
    answer = bring(web, onnx_file(5), "net.onnx", **form)
    assert answer.status_code == 400 and "the file has 5 classes, but 10 were given" in text(answer)


@pytest.mark.parametrize(
    ("sides", "shape", "says"),
    [
        ((1, 8, 8), "3 8 8", "the file takes images of [1, 8, 8], but [3, 8, 8] was given"),
        (("c", "h", "w"), "", "the file does not say how large its images are"),
        (("c", "h", "w"), "1 9 9", "MatMul"),
    ],
)
def test_an_onnx_file_that_does_not_fit_its_images_is_refused(web, sides, shape, says):
    answer = bring(web, onnx_file(10, sides=sides), "net.onnx", shape=shape)
    assert answer.status_code == 400 and says in text(answer), text(answer)


def test_an_onnx_file_that_does_not_end_holds_nobody_up(web, monkeypatch, tmp_path):
    before = sorted(web.site.settings.own.glob("models/*"))
    monkeypatch.setattr(trial, "SECONDS", 4.0)
    answer = bring(web, onnx_file(10, rounds=2**62), "net.onnx")
    assert answer.status_code == 400 and "the file: did not finish a few images within 4 s" in text(answer)
    assert sorted(web.site.settings.own.glob("models/*")) == before and not bringing.ONE.locked()
    (tmp_path / "net.onnx").write_bytes(onnx_file(10, rounds=2**62))
    with pytest.raises(DataError, match=r"net.onnx: did not finish 2 images within 0.1 s"):
        from_onnx(tmp_path / "net.onnx", seconds=0.1).model(torch.ones(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"architecture": "no_such"}, "architecture"),
        ({"sigma": "much"}, "sigma"),
        ({"sigma": "-1"}, "sigma"),
        ({"dataset": "atlantis"}, "dataset"),
        ({"shape": "8 8"}, "shape"),
        ({"classes": "ten"}, "classes"),
        ({"mean": "a b"}, "mean"),
        ({"name": "x", "class_names": "a,b", "shape": "1 8 8", "mean": "0", "sd": "1"}, "file"),
        ({"architecture": "lenet"}, "file"),
    ],
)
def test_what_is_wrong_with_a_model_is_said_at_the_field(web, weights, form, field):
    before = sorted(web.site.settings.own.glob("models/*"))
    answer = bring(web, weights, **form)
    assert answer.status_code == 400 and f'id="{field}-error"' in text(answer)
    assert sorted(web.site.settings.own.glob("models/*")) == before


def test_copies_are_those_that_are_counted(web):
    job = web.ended(web.certify(n="300", seed="5"))
    copies = job.copies()
    assert copies["noisy"].shape == (3, 1, 8, 8)
    other = web.ended(web.certify(n="300", seed="6")).copies()
    assert not np.array_equal(copies["noisy"], other["noisy"])


def test_first_numbers_come_at_once(web):
    web.ended(web.certify(n="300"))
    begun = time.time()
    job = web.site.jobs.get(web.certify(n="100000", seed="9"))
    until_drawn(job, 1)
    assert job.moments[1]["drawn"] <= 512, "the first look comes after one batch"
    assert time.time() - begun < 60
    web.post(f"/jobs/{job.id}/stop")
    web.ended(job.id)


def test_rows_are_read_as_they_were_written_or_refused(tmp_path):
    """A cut at the end is what a kill does; whatever else happens to a line is noticed, an exchange of whole lines too."""
    rows = Rows(tmp_path / "table.jsonl", "a" * 12)
    wanted = [{"radius": 0.25 * number, "name": "tab\t and\nline"} for number in range(4)]
    for row in wanted:
        rows.append(row)
    assert rows.read() == wanted
    content, random = rows.path.read_bytes(), Random(3)
    lines = content.splitlines(True)
    damaged = [mutated(content, content[::-1], random) for _ in range(300)]
    damaged += [b"".join([lines[1], lines[0], *lines[2:]]), b"".join([lines[0], *lines[2:]]), content + lines[3]]
    for changed in damaged:
        rows.path.write_bytes(changed)
        try:
            found = rows.read()
        except ArtefactError as error:
            assert str(rows.path) in str(error)
        else:
            assert found == wanted[: len(found)]
    rows.path.write_bytes(b"".join(lines[:2]) + lines[2][:9])
    rows.replace(rows.read())
    rows.append(wanted[2])
    again = Rows(rows.path, "a" * 12)
    again.append(wanted[3])
    assert again.read() == wanted
    with pytest.raises(ArtefactError, match="line 1 differs"):
        Rows(rows.path, "b" * 12).read()


def test_a_job_whose_numbers_were_altered_is_not_shown(results):
    web = Web(results)
    job = web.ended(web.certify(n="300", seed="41"))
    path = job.folder / "moments.jsonl"
    path.write_text(path.read_text().replace('"radius": 0.', '"radius": 9.'))
    web.close()
    second = Web(results)
    for page in (f"/jobs/{job.id}", f"/api/jobs/{job.id}"):
        answer = second.get(page)
        assert answer.status_code == 409 and "moments.jsonl: is damaged" in text(answer)
    assert job.id not in text(second.get("/"))
    second.close()
