"""Pages of jobs: S3, S4 and S5 as they go, their pictures, and what one may do with them."""

from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, url_for
from werkzeug.wrappers import Response as BaseResponse

from certflow.doors.web import pictures, takes
from certflow.doors.web.job import Job, certifies_one, certifies_several
from certflow.doors.web.lines import python_lines, shell_lines
from certflow.doors.web.pages import card_of, png_of
from certflow.doors.web.site import here
from certflow.doors.web.tables import batch_shown
from certflow.doors.web.tasks.attack import attack_problems
from certflow.doors.web.view import Shown, shown

JOBS = Blueprint("jobs", __name__)


@JOBS.get("/jobs/<name>")
def job(name: str) -> str:
    """S3 to S5: a job, whatever its work."""
    found = job_of(name)
    return render_template(f"job_{found.asked.work}.html.j2", **context(found))


@JOBS.post("/jobs/<name>/stop")
def stop(name: str) -> BaseResponse:
    """Stop a job."""
    here().worker.stop(job_of(name))
    return redirect(url_for("jobs.job", name=name), 303)


@JOBS.post("/jobs/<name>/further")
def further(name: str) -> BaseResponse:
    """Go on with the same draws, where the certificate allows looking."""
    found = job_of(name)
    takes.further(found, shown(found, card_of(found.asked.model)) if certifies_one(found) else None)
    return redirect(url_for("jobs.job", name=name), 303)


@JOBS.post("/jobs/<name>/attack")
def attack(name: str) -> BaseResponse:
    """Attack what was certified."""
    found = job_of(name)
    if not certifies_one(found):
        abort(409, "Only certificates of one image can be attacked.")
    view = shown(found, card_of(found.asked.model))
    problem = attackable(view)
    if problem:
        abort(409, problem)
    made = takes.attack(found, view)
    return redirect(url_for("jobs.job", name=made.id), 303)


@JOBS.post("/jobs/<name>/delete")
def delete(name: str) -> BaseResponse:
    """Delete a job that has ended."""
    found = job_of(name)
    try:
        here().jobs.remove(found)
    except ValueError as error:
        abort(409, str(error))
    return redirect(url_for("pages.models"), 303)


@JOBS.get("/jobs/<name>/image-<int:number>.png")
def job_image(name: str, number: int) -> Response:
    """An image that belongs to a job, as the model sees it."""
    images = job_of(name).pixels()
    if number >= len(images):
        abort(404)
    return png_of(images[number])


@JOBS.get("/jobs/<name>/<any(noisy, denoised, attacked, change):kind>-<int:number>.png")
def copy(name: str, kind: str, number: int) -> Response:
    """A noisy, denoised or attacked copy, cut to what a screen can show; or how an attack changed the image."""
    found = job_of(name)
    copies = found.copies().get("attacked" if kind == "change" else kind)
    if copies is None or number >= len(copies):
        abort(404, "There is no such picture (yet).")
    if kind == "change":
        return png_of(pictures.difference(found.pixels()[0] / 255, copies[number]))
    return png_of(pictures.shown(copies[number]))


def job_of(name: str) -> Job:
    """The job of that id, or 404."""
    try:
        return here().jobs.get(name)
    except KeyError:
        abort(404, "There is no such job; it may have been deleted.")


def context(found: Job) -> dict[str, Any]:
    """What the template of a job is given. `ended` is asked first: a job that ends meanwhile is shown once more."""
    known: dict[str, Any] = {"ended": found.ended, "job": found, "attackable": "no model"}
    try:
        card = here().cards.get(found.asked.model)
    except KeyError:
        card = None
    known |= {"card": card, "place": here().worker.place(found)}
    if card is None:
        return known
    if certifies_one(found):
        view = shown(found, card)
        law = (found.asked, view.made_by, view.law.certificate)
        lines = {"python": python_lines(card, *law), "shell": shell_lines(card, *law)}
        return {**known, "shown": view, "attackable": attackable(view), "copies": found.copies(), **lines}
    if certifies_several(found):
        return {**known, "batch": batch_shown(found, card)}
    return {**known, "rows": found.found.get("rows", [])}


def attackable(view: Shown) -> str:
    """Why a certificate cannot be attacked here; empty where it can."""
    if view.moment is None or not view.certified or view.moment["best"] <= 0:
        return "There is no certified radius to attack."
    if not view.card.is_torch:
        return "ONNX models give no gradients to follow."
    return "; ".join(attack_problems(view.law.noise, view.law.way.norm))
