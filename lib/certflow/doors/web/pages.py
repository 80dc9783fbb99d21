"""Pages, made on the server: all of them work without scripts."""

from typing import Any

from flask import Blueprint, Response, abort, redirect, render_template, request, send_file, url_for
from werkzeug.wrappers import Response as BaseResponse

from certflow.doors.web import forms, pictures, takes
from certflow.doors.web.asked import AskedAttack, AskedCertify, Draws
from certflow.doors.web.card import BEHIND, Card
from certflow.doors.web.job import Job
from certflow.doors.web.site import here
from certflow.doors.web.splits import spaced
from certflow.doors.web.view import LARGEST, outcome
from certflow.doors.web.ways import ways
from certflow.doors.web.words import duration
from certflow.report.numbers import counted

PAGES = Blueprint("pages", __name__)
THUMBNAILS = 24
COUNTS = (1_000, 4_000, 10_000, 40_000, 100_000, 1_000_000)
"""Numbers of draws that forms offer."""
DEFAULT_N = 10_000
FILTERS = {"data": "Data", "noise": "Noise"}


@PAGES.get("/")
def models() -> str:
    """S1: all models."""
    cards = here().cards.all()
    asked = {name: request.args.get(name, "") for name in ("q", *FILTERS)}
    options = {name: sorted({card.facts[name] for card in cards}) for name in FILTERS}
    found = [card for card in cards if _fits(card, asked)]
    jobs = [(job, _title(job), outcome(job)) for job in here().jobs.latest()]
    return render_template(
        "models.html.j2", cards=found, total=len(cards), asked=asked, options=options, labels=FILTERS, jobs=jobs
    )


@PAGES.get("/models/<name>")
def model(name: str) -> str:
    """S2: choose an image."""
    return _form(card_of(name))


@PAGES.get("/models/<name>/behind")
def behind(name: str) -> BaseResponse:
    """The same model with the denoiser that a form names before it, or with none."""
    alone, other = card_of(name).alone, request.args.get("denoiser", "")
    return redirect(url_for("pages.model", name=f"{alone}{BEHIND}{other}" if other else alone), 303)


@PAGES.post("/models/<name>/certify")
def certify(name: str) -> BaseResponse | tuple[str, int]:
    """Start a job of one image."""
    card, site = card_of(name), here()
    takes.room()
    errors: dict[str, str] = {}
    draws = forms.noted(errors, lambda: forms.draws_of(request.form, card))
    file, test, limit = request.files.get("file"), site.splits.test(card.dataset), site.settings.image_bytes
    picture = forms.noted(errors, lambda: forms.chosen(request.form, file, card, test, limit))
    if draws is None or picture is None:
        return _form(card, errors, request.form), 400
    job = takes.certify(card, draws, picture)
    return redirect(url_for("jobs.job", name=job.id), 303)


@PAGES.post("/models/<name>/render")
def render(name: str) -> Response:
    """An image file as the model would see it."""
    card, site = card_of(name), here()
    try:
        found = forms.chosen(request.form, request.files.get("file"), card, None, site.settings.image_bytes)
    except forms.Wrong as error:
        abort(400, next(iter(error.errors.values())))
    answer = png_of(found.pixels)
    answer.headers["X-Rendered"] = found.picture.rendered.replace("×", "x").encode("ascii", "replace").decode()
    return answer


@PAGES.get("/models/<name>/images/<int:index>.png")
def test_image(name: str, index: int) -> Response:
    """A test image."""
    test = here().splits.test(card_of(name).dataset)
    if test is None or index >= len(test):
        abort(404, "There is no such test image.")
    answer = png_of(forms.from_test(test, index).pixels)
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer


@PAGES.get("/about")
def about() -> str:
    """S7: what is certified, and how programs ask."""
    return render_template("about.html.j2")


@PAGES.get("/healthz")
def health() -> tuple[dict[str, Any], int]:
    """For those who watch servers, many of which look at the status alone: 503 where no job would be done any more."""
    worker = here().worker
    alive = worker.thread.is_alive()
    known = {"ok": alive, "waiting": len(worker.waiting), "running": worker.running is not None}
    return known, 200 if alive else 503


@PAGES.get("/form")
def form() -> BaseResponse:
    """An address that other programs know."""
    return redirect(url_for("pages.models"), 301)


@PAGES.get("/favicon.ico")
def favicon() -> BaseResponse:
    """Browsers ask for it by itself."""
    return redirect(url_for("static", filename="favicon.svg"), 301)


@PAGES.get("/download_weights/<name>")
@PAGES.get("/models/<name>/weights")
def weights(name: str) -> Response:
    """The file of weights."""
    card = file_of(name)
    return send_file(card.path.resolve(), as_attachment=True, download_name=f"{card.id}{card.path.suffix}")


def card_of(name: str) -> Card:
    """The model of that id, or 404."""
    try:
        return here().cards.get(name)
    except KeyError:
        abort(404, "There is no such model; it may have been made anew since.")


def file_of(name: str) -> Card:
    """The model of that id whose weights are one file, or 404."""
    card = card_of(name)
    if card.behind is not None:
        abort(404, "These are two files: download the model, and the one whose denoiser stands before it.")
    return card


def _form(card: Card, errors: dict[str, str] | None = None, given: Any = None) -> str:
    """The form of S2, with what was given before and what is wrong with it."""
    test = here().splits.test(card.dataset)
    start = request.args.get("from", 0, int)
    thumbnails = [] if test is None else spaced(len(test), THUMBNAILS, max(start, 0))
    rate = here().ready.rates.get(card.id)
    counts = [(n, f"{n:,} draws" + (f" (about {duration(n / rate)})" if rate else "")) for n in COUNTS if n <= LARGEST]
    return render_template(
        "model.html.j2",
        card=card,
        ways=ways(card.noise, card.dim),
        denoisers=here().cards.denoisers(card),
        test=test,
        thumbnails=thumbnails,
        next=start + 1,
        counts=counts,
        default_n=DEFAULT_N,
        defaults=Draws(),
        errors=errors or {},
        given=given or {},
    )


def _fits(card: Card, asked: dict[str, str]) -> bool:
    words = asked["q"].lower().split()
    text = " ".join([card.title, *card.facts.values()]).lower()
    same = all(not asked[name] or card.facts[name] == asked[name] for name in FILTERS)
    return same and all(word in text for word in words)


def _title(found: Job) -> str:
    try:
        card = here().cards.get(found.asked.model).title
    except KeyError:
        card = "a model that is not there any more"
    if isinstance(found.asked, AskedCertify):
        return f"{found.asked.picture.name}, {card}"
    if isinstance(found.asked, AskedAttack):
        return f"Attack on {found.asked.picture.name}, {card}"
    return f"{counted(len(found.asked.pictures), 'image')}, {card}"


def png_of(pixels: Any) -> Response:
    return Response(pictures.png(pixels), mimetype="image/png")
