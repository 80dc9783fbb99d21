"""The application, served as it is served, and a browser that looks at it. Run by `make test-web`, skipped elsewhere."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
BROWSER = os.environ.get("BROWSER")
PATIENCE = 240_000
"""Milliseconds that a page is waited for: however slow a machine is, a page that works appears."""


def pytest_collection_modifyitems(items):
    if BROWSER is None:
        here = Path(__file__).parent
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs a browser: make test-web"))


class Served:
    """The application behind its address."""

    def __init__(self, web):
        import waitress

        self.web = web
        self.server = waitress.create_server(web.app, host="127.0.0.1", port=0, threads=16)
        self.address = f"http://127.0.0.1:{self.server.effective_port}"
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        self.certified = self._certified()

    def _certified(self) -> int:
        """The number of a test image whose class is certified within few draws."""
        for index in range(0, 60, 4):
            moment = self.web.ended(self.web.certify(index=str(index), n="2000", seed="2")).moments[-1]
            if moment["best"] > 0:
                return index
        raise AssertionError("the model certifies nothing")


@pytest.fixture(scope="session")
def served(tmp_path_factory) -> Iterator[Served]:
    from web_examples import Web, results_with

    web = Web(results_with(tmp_path_factory.mktemp("web")))
    served = Served(web)
    yield served
    served.server.close()
    web.close()


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


class Looked:
    """A page of the browser, and everything that it asked for and complained of."""

    def __init__(self, context, served):
        self.page, self.served = context.new_page(), served
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def go(self, path: str):
        self.page.goto(self.served.address + path)
        return self.page

    @property
    def foreign(self) -> list[str]:
        """Requests that left the machine."""
        own = (self.served.address, "blob:", "data:")
        return [url for url in self.asked if not url.startswith(own)]


@pytest.fixture
def look(chromium, served):
    """`look(width=…, …)`: a fresh context of the browser. Afterwards nothing may have been asked elsewhere or complained of."""
    opened = []

    def make(width: int = 1280, **options) -> Looked:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(PATIENCE)
        opened.append((context, Looked(context, served)))
        return opened[-1][1]

    yield make
    for context, looked in opened:
        context.close()
        assert looked.foreign == [] and looked.complaints == []
