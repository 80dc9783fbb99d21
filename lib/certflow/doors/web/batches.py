"""S5: certify several images at once."""

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from certflow.doors.web import forms, pictures, takes
from certflow.doors.web.asked import Draws, Picture
from certflow.doors.web.card import Card
from certflow.doors.web.forms import Chosen
from certflow.doors.web.pages import card_of
from certflow.doors.web.settings import MEGABYTE
from certflow.doors.web.site import here
from certflow.doors.web.splits import spaced
from certflow.doors.web.ways import ways
from certflow.doors.written import whole
from certflow.errors import CertflowError

BATCHES = Blueprint("batches", __name__)
MOST = pictures.ENTRIES
COUNTS = (1_000, 4_000, 10_000, 100_000)
DEFAULT_N, DEFAULT_IMAGES = 1_000, 50


@BATCHES.get("/models/<name>/batch")
def batch(name: str) -> str:
    """The form."""
    return _form(card_of(name))


@BATCHES.post("/models/<name>/batch")
def start(name: str) -> BaseResponse | tuple[str, int]:
    """Start a job."""
    card, site = card_of(name), here()
    request.max_content_length = site.settings.zip_bytes + MEGABYTE
    takes.room()
    errors: dict[str, str] = {}
    draws = forms.noted(errors, lambda: forms.draws_of(request.form, card))
    images = forms.noted(errors, lambda: _images(card))
    if draws is None or images is None:
        return _form(card, errors, request.form), 400
    return redirect(url_for("jobs.job", name=takes.batch(card, draws, images).id), 303)


def _images(card: Card) -> list[Chosen]:
    """A zip where there is one, else evenly spaced test images."""
    file = request.files.get("file")
    if file is not None and file.filename:
        try:
            found = pictures.unzipped(file.stream.read(), card.shape)
        except CertflowError as error:
            raise forms.Wrong({"file": str(error)}) from None
        return [
            Chosen(made.pixels, Picture(source="upload", index=number, name=name, rendered=made.said))
            for number, (name, made) in enumerate(found)
        ]
    test = here().splits.test(card.dataset)
    if test is None:
        raise forms.Wrong({"file": "this model's test images are not here; choose a zip"})
    most = min(MOST, len(test))
    count = whole(request.form.get("images", ""), 1, most)
    if count is None:
        raise forms.Wrong({"images": f"choose a number from 1 to {most}"})
    return [forms.from_test(test, index) for index in spaced(len(test), count)]


def _form(card: Card, errors: dict[str, str] | None = None, given: Any = None) -> str:
    test = here().splits.test(card.dataset)
    return render_template(
        "batch.html.j2",
        card=card,
        test=test,
        ways=ways(card.noise, card.dim),
        counts=[(n, f"{n:,} draws each") for n in COUNTS],
        default_n=DEFAULT_N,
        default_images=DEFAULT_IMAGES,
        defaults=Draws(),
        most=MOST,
        errors=errors or {},
        given=given or {},
    )
