"""The same for programs, as JSON. What changes something needs the token that was printed at the start."""

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from tempfile import TemporaryFile
from typing import Any

from flask import Blueprint, Response, abort, jsonify, request, send_file, url_for
from werkzeug.exceptions import BadRequest

from certflow.doors.web import forms, takes, votes
from certflow.doors.web.asked import Draws, Sampled, Votes
from certflow.doors.web.card import Card
from certflow.doors.web.job import Job, certifies_one, certifies_several
from certflow.doors.web.job_pages import job_of
from certflow.doors.web.lines import UPLOADED
from certflow.doors.web.pages import card_of, file_of
from certflow.doors.web.site import here
from certflow.doors.web.tables import tab_separated
from certflow.doors.web.view import shown
from certflow.doors.web.ways import ways
from certflow.errors import listed
from certflow.files.intact import read_all

API = Blueprint("api", __name__)
IMAGE = ("index", "number", "base64", "name", "fit", "invert")
"""What a request may say of an image."""


@API.get("/api/models")
def models() -> Response:
    """All models."""
    return jsonify([_model(card) for card in here().cards.all()])


@API.get("/api/models/<name>")
def model(name: str) -> Response:
    """One model, and the ways to certify it."""
    card = card_of(name)
    offered = [{"way": way.name, "title": way.title, "about": way.about} for way in ways(card.noise, card.dim)]
    return jsonify(_model(card) | {"ways": offered})


@API.post("/api/jobs")
@API.post("/calculate_certified_radius")
def make() -> tuple[Response, int, dict[str, str]]:
    """Start a job of one image: {model, image: {index} or {base64, name, fit, invert}, way, n0, n, alpha, seed, sigma}."""
    given = _sent(Draws)
    card = card_of(str(given.get("model", "")))
    takes.room()
    try:
        draws, picture = forms.draws_of(given, card), _image(given, card)
    except forms.Wrong as error:
        abort(400, str(error))
    job = takes.certify(card, draws, picture)
    place = url_for("api.job", name=job.id)
    return jsonify(_job(job)), 201, {"Location": place}


@API.post("/api/predict")
def predict() -> Response:
    """The smoothed class of an image, or an abstention: {model, image, n, alpha, seed, sigma}."""
    return _at_once(votes.prediction)


@API.post("/api/scores")
def scores() -> Response:
    """The shares of votes, of the same."""
    return _at_once(votes.scores)


@API.get("/api/jobs/<name>")
def job(name: str) -> Response:
    """A job: state, what was asked for, and what is known now."""
    return jsonify(_job(job_of(name)))


@API.post("/api/jobs/<name>/stop")
def stop(name: str) -> Response:
    """Stop a job."""
    found = job_of(name)
    here().worker.stop(found)
    return jsonify(_job(found))


@API.get("/jobs/<name>/download/<what>")
def download(name: str, what: str) -> Response:
    """Everything there is about a job: job.json, table.tsv, counts.npz, image.npy."""
    import numpy as np

    found = job_of(name)
    if what == "job.json":
        return _file(json.dumps(_job(found, whole=True), indent=1).encode(), f"{name}.json", "application/json")
    if what == "table.tsv":
        return _file(tab_separated(_rows(found)).encode(), f"{name}.tsv", "text/tab-separated-values")
    if what == "counts.npz" and (found.folder / what).exists():  # read at once: the job may be writing the next
        return _file(read_all(found.folder / what), f"{name}.npz", "application/octet-stream")
    if what == UPLOADED:
        images, buffer = found.pixels(), io.BytesIO()
        np.save(buffer, images)
        return _file(buffer.getvalue(), UPLOADED, "application/octet-stream")
    abort(404, "There is no such file (yet).")


@API.get("/models/<name>/bundle")
@API.get("/api/models/<name>/bundle")
def bundle(name: str) -> Response:
    """Weights, and a card and a README that say what they are, as a zip."""
    card = file_of(name)
    file = TemporaryFile()  # not in memory, which a few large models would fill; closed when the answer is sent
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(card.path, card.path.name)
        archive.writestr("card.json", json.dumps(_model(card), indent=1, sort_keys=True))
        archive.writestr("README.md", _readme(card))
    file.seek(0)
    return send_file(file, mimetype="application/zip", as_attachment=True, download_name=f"{card.id}.zip")


def _at_once(answer: Callable[[Card, Votes, forms.Chosen], dict[str, Any]]) -> Response:
    """What can be waited for."""
    given = _sent(Votes)
    card = card_of(str(given.get("model", "")))
    takes.room()
    try:
        return jsonify({"model": card.id, **answer(card, forms.votes_of(given, card), _image(given, card))})
    except forms.Wrong as error:
        abort(400, str(error))


def _image(given: dict[str, Any], card: Card) -> forms.Chosen:
    """The image of a request. `Wrong` where it is none."""
    image, test = _object(given.get("image", {}), IMAGE), here().splits.test(card.dataset)
    return forms.chosen(image, None, card, test, here().settings.image_bytes)


def _model(card: Card) -> dict[str, Any]:
    result = None if card.result is None else {"images": card.result.images, "accuracy": card.result.accuracy}
    return {
        "id": card.id,
        "title": card.title,
        "source": card.source,
        "facts": dict(card.facts),
        "shape": list(card.shape),
        "classes": card.classes,
        "noise": card.noise.canonical(),
        "certified": result,
        "warnings": list(card.warnings),
    }


def _job(found: Job, whole: bool = False) -> dict[str, Any]:
    status = found.status
    plain = {
        "id": found.id,
        "state": status.state,
        "message": status.message,
        "asked": found.asked.model_dump(mode="json"),
        "moment": found.moments[-1] if found.moments else None,
    }
    if whole:
        plain |= {"moments": found.moments, "found": found.found, "rows": found.table}
    return plain


def _rows(found: Job) -> list[dict[str, Any]]:
    """Rows of the job's table."""
    if certifies_several(found):
        return found.table
    if not certifies_one(found):
        return found.found.get("rows", [])
    picture = found.asked.picture
    view = shown(found, card_of(found.asked.model))
    if view.moment is None or not view.certified and not found.ended:
        return []
    moment, valid = view.moment, view.certified
    row = {
        "idx": picture.index,
        "predict": moment["selected"] if valid else -1,
        "radius": moment["best"] if valid else 0.0,
    }
    hits = dict(map(tuple, moment["top"])).get(moment["selected"], 0)
    counted = {"n": moment["drawn"], "k": hits, "p_lower": moment["p_lower"], "seconds": moment["seconds"]}
    return [{**row, **picture.judged(row["predict"]), **counted, "name": picture.name}]


def _readme(card: Card) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in card.facts.items())
    return f"# {card.title}\n\n{facts}\n- images: {list(card.shape)}, values from 0 to 1\n- classes: {card.classes}\n"


def _sent(record: type[Sampled]) -> dict[str, Any]:
    """The JSON object that was sent: a model, an image, and what the record holds."""
    try:
        given = request.get_json()
    except (BadRequest, RecursionError):
        given = None
    return _object(given, ("model", "image", *record.model_fields))


def _object(given: Any, known: Iterable[str]) -> dict[str, Any]:
    """A JSON object with known fields alone: of one that is misspelt the default would be taken without a word."""
    if not isinstance(given, dict):
        abort(400, "Send a JSON object.")
    for name in given.keys() - set(known):
        abort(400, f"{name}: no such field; known: {listed(known, name)}")
    return given


def _file(content: bytes, name: str, kind: str) -> Response:
    return send_file(io.BytesIO(content), mimetype=kind, as_attachment=True, download_name=name)
