"""The application: its parts put together, and what is said when something goes wrong."""

import errno
import logging
from tempfile import gettempdir

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from certflow import __version__
from certflow.doors.web import api, batches, bringing, guard, job_pages, pages, streams
from certflow.doors.web.settings import MEGABYTE, Settings
from certflow.doors.web.site import NAME, Site
from certflow.doors.web.words import ago, duration
from certflow.doors.web.worker import Full
from certflow.errors import CertflowError, short_of_memory, shortage
from certflow.report.names import NORMS
from certflow.report.numbers import counted, down, percent, up

log = logging.getLogger(__name__)
FORM_BYTES = MEGABYTE
"""Most bytes of a form's fields that are not files."""
TOO_LARGE = 413
PLAIN = {
    404: "There is nothing at this address.",
    405: "This address does not take requests of this kind.",
    TOO_LARGE: "What was sent is too large.",
}
"""What is said instead of the library's own words."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
AGAIN = 15
"""Seconds after which to ask again when the server is busy."""


class App(Flask):
    """Flask whose templates always escape what they are given, whatever their files are called."""

    def select_jinja_autoescape(self, filename: str | None) -> bool:
        return True


def create_app(settings: Settings, *, start: bool = True) -> App:
    """The application. start: whether its worker starts now."""
    app = App(__name__)
    site = Site.of(settings)
    app.extensions[NAME] = site
    app.config["MAX_FORM_MEMORY_SIZE"] = FORM_BYTES
    app.config["MAX_CONTENT_LENGTH"] = settings.image_bytes + FORM_BYTES
    shown = {"counted": counted, "down": down, "up": up, "percent": percent}
    app.jinja_env.filters.update(shown, duration=duration, ago=ago, norm=NORMS.__getitem__)
    app.context_processor(lambda: {"version": __version__})
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    guard.install(app)
    for part in (pages.PAGES, job_pages.JOBS, batches.BATCHES, bringing.BRINGING, api.API, streams.STREAMS):
        app.register_blueprint(part)
    app.register_error_handler(HTTPException, said)
    app.register_error_handler(CertflowError, refused)
    app.register_error_handler(Full, busy)
    app.register_error_handler(OSError, system)
    app.register_error_handler(Exception, unexpected)
    if start:
        site.start()
    return app


def said(error: HTTPException) -> Response:
    """An error as a page of the same look, or as JSON where JSON was asked for."""
    code = error.code or 500
    own = error.description if error.description != type(error).description else PLAIN.get(code, error.description)
    if code == TOO_LARGE:
        most = (request.max_content_length or 0) // MEGABYTE
        own = f"{own} This address takes at most {most} MB, {FORM_BYTES // MEGABYTE} MB of them in fields that are not files."
    return _answer(code, error.name, own or "")


def refused(error: CertflowError) -> Response:
    """A file that is damaged, or data that are not there."""
    return _answer(409, "This cannot be used", str(error))


def busy(error: Full) -> Response:
    """No more work is taken for now."""
    answer = _answer(429, "The server is busy", str(error))
    answer.headers["Retry-After"] = str(AGAIN)
    return answer


def system(error: OSError) -> Response:
    """A disk that is full while something is sent; anything else that the system refuses is unexpected."""
    if error.errno not in FULL_DISK:
        return unexpected(error)
    text = (
        f"The disk of the results, or that of {gettempdir()}, where uploads wait. Make room there, and send this again."
    )
    return _answer(507, "The disk is full", text)


def unexpected(error: Exception) -> Response:
    """An error that nobody raised on purpose: too little memory, a fault of certflow, or of what it runs on."""
    log.exception("%s %s", request.method, request.path)
    if short_of_memory(error):
        return _answer(503, "Memory did not suffice", shortage(error))
    return _answer(500, "This should not happen", "The server's log says more. What was running goes on.")


def _answer(code: int, name: str, text: str) -> Response:
    if request.path.startswith("/api/") or request.is_json or request.accept_mimetypes.best == "application/json":
        answer = jsonify(error=text or name)
    else:
        answer = Response(render_template("error.html.j2", code=code, name=name, text=text), mimetype="text/html")
    answer.status_code = code
    return answer
