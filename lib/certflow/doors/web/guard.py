"""Who may ask: host names against rebinding, origins against other sites, and headers that keep pages to themselves."""

import hmac

from flask import Flask, Response, abort, request

from certflow.doors.web.site import here

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers hide the origin of our own forms too
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SAFE = ("GET", "HEAD", "OPTIONS")
TOKEN = "X-Certflow-Token"


def install(app: Flask) -> None:
    """Guard all requests and answers of an application."""
    app.before_request(check_host)
    app.before_request(check_origin)
    app.after_request(add_headers)


def check_host() -> None:
    """421 for a host name that is not ours: a page elsewhere may have its own name point at this machine."""
    name = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
    if name.lower() not in here().settings.hosts:
        abort(421, "This server is not called so; start it with --allow-host to give it another name.")


def check_origin() -> None:
    """403 for a request that changes something and comes from a page elsewhere.

    Browsers say where a request comes from. Programs that do not must send JSON, which no form elsewhere can, and the token.
    """
    if request.method in SAFE:
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = [f"{scheme}://{request.host}" for scheme in ("http", "https")]  # a proxy in front may speak https for us
    if origin not in (None, *own) or site not in (None, "same-origin"):
        abort(403, "This request comes from another site.")
    if site is None and origin is None:
        shown = request.headers.get(TOKEN, "")
        if not request.is_json or not hmac.compare_digest(shown.encode(), here().settings.token.encode()):
            abort(403, f"A program must send JSON, and the token that was printed at the start as {TOKEN}.")


def add_headers(answer: Response) -> Response:
    """Nothing from elsewhere, no guessing of types, no traces; what may change is not kept."""
    answer.headers.update(HEADERS)
    answer.headers.setdefault("Cache-Control", "no-store")
    return answer
