"""Following a job live: events that the server sends while the page stays open."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, copy_current_request_context, render_template, request

from certflow.doors.web.job import Job
from certflow.doors.web.job_pages import context, job_of
from certflow.doors.web.site import here
from certflow.doors.written import whole

STREAMS = Blueprint("streams", __name__)
PACE = 0.25
"""Seconds between two events, at least: more than five a second nobody can read, and making them takes time from the work."""
ALIVE = 15.0
"""Seconds after which something is sent even if nothing happened, so that both ends know of each other."""
LAST = 1 << 40
"""No job has so many events."""
PARTS = {
    "certify": ("said", "verdict", "controls", "live", "looks", "after"),
    "batch": ("said", "live", "controls", "after"),
    "attack": ("said", "live", "controls"),
}
"""Parts of a job's page that change, by its work: templates/parts/<work>_<part>.html.j2."""


@STREAMS.get("/jobs/<name>/live")
def live(name: str) -> Response:
    """The parts of the page as they change, as server-sent events; with `once`, as JSON, for pages that must ask again."""
    job = job_of(name)
    if "once" in request.args:
        return Response(json.dumps(parts(job)), mimetype="application/json")
    return _followed(_changes(job, copy_current_request_context(lambda: parts(job))))


@STREAMS.get("/api/jobs/<name>/events")
def events(name: str) -> Response:
    """What was known after each instalment, from the one after `Last-Event-ID` on, and then as it comes."""
    job = job_of(name)
    seen = whole(request.headers.get("Last-Event-ID", ""), 0, LAST)
    return _followed(_moments(job, -1 if seen is None else seen))


def parts(job: Job) -> dict[str, Any]:
    """The parts of a job's page, as HTML by name, and whether there will be more.

    Where its model is gone the page is another one."""
    given, work = context(job), job.asked.work
    if given["card"] is None:
        return {"parts": {}, "ended": True, "gone": True}
    made = {name: render_template(f"parts/{work}_{name}.html.j2", **given).strip() for name in PARTS[work]}
    return {"parts": made, "ended": given["ended"]}


def _changes(job: Job, made: Callable[[], dict[str, Any]]) -> Iterator[str]:
    seen = -1
    while True:
        seen, changed = job.version, seen != job.version
        if changed:
            found = made()
            yield _event("change", found, seen)
            if found["ended"]:
                return
            time.sleep(PACE)
        elif job.wait(seen, ALIVE) == seen:
            yield ": still here\n\n"


def _moments(job: Job, seen: int) -> Iterator[str]:
    at, version = seen + 1, -1
    while True:
        version, ended, found = job.version, job.ended, job.moments[at:]
        for moment in found:
            yield _event("moment", moment, at)
            at += 1
        if ended:
            yield _event("end", {"state": job.status.state, "message": job.status.message}, at)
            return
        if job.wait(version, ALIVE) == version:
            yield ": still here\n\n"


def _followed(events: Iterator[str]) -> Response:
    """The events, if so many may be followed at once; else a word that one must ask now and then."""
    room = here().streams
    if not room.acquire(blocking=False):
        return Response("event: full\ndata: {}\n\n", mimetype="text/event-stream")
    answer = Response(events, mimetype="text/event-stream")
    answer.headers["X-Accel-Buffering"] = "no"  # a proxy must not wait for more of them
    answer.call_on_close(room.release)
    return answer


def _event(name: str, data: dict[str, Any], number: int) -> str:
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data)}\n\n"
