"""Serve the web application: choose a model and an image, and watch the certified radius grow.

It listens on this machine alone unless `--host` says otherwise, needs no network, and keeps its jobs in results/web, so they
survive a restart. Models are those below results/train, and those uploaded in the browser.
"""

import argparse
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certflow.doors.written import whole
from certflow.machine.naming import DEVICES

if TYPE_CHECKING:
    from certflow.doors.web.site import Site

HELP = "the web application"
THREADS = 16
"""Requests that are answered at the same time; a few of them may be pages that follow a job."""
CONNECTIONS = 500
"""As many may be open, idle ones among them, before new ones wait; a process may usually have 1,024 files open."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "--results", default="results", metavar="FOLDER", help="folder of the pipeline's results (results)"
    )
    parser.add_argument("--port", type=_port, default=8000, help="port to listen on (8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    parser.add_argument(
        "--allow-host",
        type=_name,
        action="append",
        default=[],
        metavar="NAME",
        help="a host name under which pages are answered",
    )
    parser.add_argument("--device", default="auto", help=f"{DEVICES} (auto)")
    parser.add_argument("--queue", type=_waiting, default=32, help="jobs that may wait (32)")


def run(given: argparse.Namespace) -> int:
    """Serve until interrupted."""
    import waitress

    from certflow.doors.catalogue import require_folder
    from certflow.doors.web.app import create_app
    from certflow.doors.web.settings import LOOPBACK, Settings
    from certflow.doors.web.site import NAME
    from certflow.files.lock import exclusive
    from certflow.machine.naming import checked_device

    require_folder(given.results)
    checked_device(given.device)
    open_to_others = f"[{given.host}]" not in LOOPBACK and given.host not in LOOPBACK
    if open_to_others and not given.allow_host:
        raise ValueError(f"--host {given.host}: say under which name pages are answered, with --allow-host NAME")
    if open_to_others:
        print("warning: whoever reaches this port can start jobs and read all models and images here", file=sys.stderr)
    settings = Settings(
        Path(given.results), hosts=(*LOOPBACK, *given.allow_host), device=given.device, queue=given.queue
    )
    app = create_app(settings, start=False)
    try:
        largest = settings.model_bytes + (2 << 20)
        options = {"host": given.host, "port": given.port, "threads": THREADS, "max_request_body_size": largest}
        options |= {"connection_limit": CONNECTIONS, "asyncore_use_poll": True}
        server = waitress.create_server(app, **options)
    except OSError as error:
        raise ValueError(f"--port {given.port}: cannot be listened on ({error.strerror}); take another one") from error
    with exclusive(settings.own / "server", "serving"):  # two servers would do the same jobs
        _serve(server, app.extensions[NAME], given, settings.token)
    return 0


def _serve(server: Any, site: "Site", given: argparse.Namespace, token: str) -> None:
    signal.signal(signal.SIGTERM, _ended)
    site.start()
    print(f"certflow: http://{_shown(given.host)}:{given.port}/  (end with Ctrl-C)")
    print(f"programs show this token: {token}", flush=True)
    try:
        server.run()
    finally:
        site.worker.close()


def _ended(number: int, frame: Any) -> None:
    """End in good order when the system asks for it, too; as the first process of a container nothing else would end it."""
    sys.exit()


def _name(text: str) -> str:
    """A host name as requests say it, in lower case; one that could never be asked for is refused."""
    if not re.fullmatch(r"[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]", text):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a host name; write it without http:// and without a port, and IPv6 in brackets"
        )
    return text.lower()


def _port(text: str) -> int:
    return _between(text, 1, 65_535, "a port")


def _waiting(text: str) -> int:
    return _between(text, 1, 10_000, "a number of jobs")


def _between(text: str, low: int, high: int, what: str) -> int:
    """The whole number of a text, in a range."""
    found = whole(text, low, high)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not {what}, from {low} to {high}")
    return found


def _shown(host: str) -> str:
    """The address as a browser of this machine takes it."""
    if host in ("127.0.0.1", "::1", "0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host
