"""Screenshots for docs/web.md, of the application over the models that `make demo` trains."""

import io
import os
import tempfile
import threading
import time
from pathlib import Path

import waitress
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from certflow.doors.web.app import create_app
from certflow.doors.web.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
TO = ROOT / "docs" / "pictures"
COLOURS = 96
"""Of a stored picture: enough for pages, and a third of the bytes."""
IMAGE, SEED, DRAWS = "36", "1", "40000"


def main() -> None:
    """Take all pictures."""
    results = Path(os.environ.get("RESULTS", ROOT / "results"))
    if not list(results.glob("train/**/model.safetensors")):
        raise SystemExit(f"{results}: holds no models; run `make demo` first")
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder)
        for name in ("train", "certificates", "data"):
            (own / name).symlink_to((results / name).resolve())
        app = create_app(Settings(own))
        server = waitress.create_server(app, host="127.0.0.1", port=0, threads=16)
        threading.Thread(target=server.run, daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=os.environ["BROWSER"], args=["--no-sandbox"])
            taken(browser, f"http://127.0.0.1:{server.effective_port}")
            browser.close()
        server.close()


def taken(browser, address: str) -> None:
    """The pictures, one after the other."""
    page = browser.new_page(viewport={"width": 1100, "height": 860})
    page.goto(address)
    page.locator(".card a").first.click()
    page.wait_for_load_state("networkidle")
    save(page, "web-choose")
    page.locator("#number").fill(IMAGE)
    page.locator("#n").select_option(DRAWS)
    page.locator("summary").first.click()
    page.locator("#seed").fill(SEED)
    page.get_by_role("button", name="Certify", exact=True).click()
    page.locator("#attack").wait_for(timeout=120_000)
    certificate = page.url
    page.set_viewport_size({"width": 1100, "height": 1180})
    save(page, "web-certificate", 1180)
    page.locator("#attack").click()
    page.get_by_text("of them within the certified radius").first.wait_for(timeout=300_000)
    save(page, "web-attack", 760)
    dark = browser.new_page(viewport={"width": 360, "height": 1000}, color_scheme="dark")
    dark.goto(certificate)
    save(dark, "web-phone", 1000)


def save(page: Page, name: str, height: int = 860) -> None:
    """A picture of what is seen, with few colours."""
    time.sleep(0.5)
    size = page.viewport_size
    if size is None:
        raise ValueError("the browser has no fixed window; give it one")
    width = size["width"]
    data = page.screenshot(clip={"x": 0, "y": 0, "width": width, "height": height})
    image = Image.open(io.BytesIO(data)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    TO.mkdir(exist_ok=True)
    image.save(TO / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
