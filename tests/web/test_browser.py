"""The web application in a browser: the whole way, by keyboard alone, without scripts, narrow and dark, and what axe says."""

import io

import pytest

SCREENS = ("models", "model", "batch form", "job", "batch", "attack", "new", "about", "error")


@pytest.fixture(scope="module")
def screens(served):
    """Every screen's path by name."""
    web, model = served.web, served.web.model
    job = web.ended(web.certify(index=str(served.certified), n="3000", seed="4"))
    batch = web.post(f"/models/{model}/batch", {"images": "4", "n": "300"}).location.rsplit("/", 1)[1]
    attack = web.post(f"/jobs/{job.id}/attack").location.rsplit("/", 1)[1]
    for name in (batch, attack):
        web.ended(name, 120)
    paths = {"model": f"/models/{model}", "batch form": f"/models/{model}/batch", "job": f"/jobs/{job.id}"}
    more = {"batch": f"/jobs/{batch}", "attack": f"/jobs/{attack}", "new": "/models/new"}
    return {"models": "/", **paths, **more, "about": "/about", "error": "/nothing"}


def drawn(page) -> int:
    """How many draws the page tells of."""
    shown = page.locator(".figure-small", has_text="draws of").locator("b").inner_text()
    return int(shown.replace(",", ""))


def choose(page, served, n: str) -> None:
    page.locator("#number").fill(str(served.certified))
    page.locator("#n").select_option(n)
    page.get_by_role("button", name="Certify", exact=True).click()
    page.wait_for_url("**/jobs/*")


def test_from_a_model_to_a_growing_radius_and_an_attack(look, served):
    page = look().go("/")
    page.locator(".card a").first.click()
    choose(page, served, "1000000")  # so many that the job never ends before it is stopped
    page.wait_for_function("() => document.querySelector('.figure-big b')")
    first = drawn(page)
    page.wait_for_function(
        "before => [...document.querySelectorAll('.figure-small')].some(e => e.textContent.includes('draws of')"
        " && +e.querySelector('b').textContent.replaceAll(',', '') > before)",
        arg=first,
    )
    page.get_by_role("button", name="Stop").click()
    page.locator("#further").wait_for()
    assert "stopped" in page.inner_text("main") and drawn(page) > first
    page.locator("#attack").click()
    page.wait_for_url("**/jobs/*")
    page.get_by_text("of them within the certified radius").first.wait_for()
    assert "0 of them within" in page.inner_text(".verdict h2")


def test_the_page_is_done_without_being_loaded_again(look, served):
    page = look().go(f"/models/{served.web.model}")
    choose(page, served, "4000")
    page.evaluate("window.mark = 1")
    page.locator("#python").wait_for()
    assert page.evaluate("window.mark") == 1 and drawn(page) == 4000
    assert page.locator("#part-said").inner_text().startswith("Class")


def tab_to(page, selector: str, key: str = "Tab", most: int = 80) -> None:
    """Press a key until the focus is on what the selector means."""
    for _ in range(most):
        page.keyboard.press(key)
        if page.evaluate("s => document.activeElement?.matches(s) ?? false", selector):
            return
    raise AssertionError(f"{selector} is not reached by the keyboard")


def test_by_keyboard_alone(look, served):
    page = look().go("/")
    tab_to(page, ".skip", most=1)
    tab_to(page, ".card a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/*")
    tab_to(page, "[name=from]")
    tab_to(page, "[name=index]")
    page.keyboard.press("ArrowRight")
    tab_to(page, "#number")
    page.keyboard.type(str(served.certified))
    assert page.locator("[name=index]:checked").count() == 0
    tab_to(page, "[name=way]")
    tab_to(page, "#n")
    page.keyboard.press("Home")
    tab_to(page, "button.first")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    page.locator("#attack").wait_for()
    tab_to(page, "summary")
    page.keyboard.press("Enter")
    assert page.locator("#part-looks table").is_visible()


def test_without_scripts_up_to_the_result(look, served):
    page = look(java_script_enabled=False).go("/")
    page.locator(".card a").first.click()
    page.locator("#number").fill(str(served.certified))
    page.locator("#n").select_option("40000")
    page.get_by_role("button", name="Certify", exact=True).click()
    page.wait_for_url("**/jobs/*")
    page.locator("#python").wait_for()
    assert drawn(page) == 40_000 and page.locator("svg.chart").count() >= 1


def draw(page, share: float) -> None:
    """Draw a line from top to bottom, at this share of the pad's width."""
    box = page.locator("#pad").bounding_box()
    x, y = box["x"] + share * box["width"], box["y"]
    page.mouse.move(x, y + 30)
    page.mouse.down()
    page.mouse.move(x, y + box["height"] - 30, steps=8)
    page.mouse.up()


def test_drawing(look, served):
    page = look().go(f"/models/{served.web.model}")
    page.locator("#tab-draw").click()
    page.get_by_role("button", name="Certify", exact=True).click()
    assert page.locator("#pad-said").inner_text() == "Draw something first."
    draw(page, 0.5)
    page.get_by_role("button", name="Certify", exact=True).click()
    page.wait_for_url("**/jobs/*")
    job = served.web.site.jobs.get(page.url.rsplit("/", 1)[1])
    pixels = job.pixels()[0, 0]
    assert job.asked.picture.source == "drawing" and pixels[4, 3:5].min() > 100 and pixels[:, 0].max() == 0
    assert "this drawing" in page.inner_text("h1")


def test_another_drawing_after_one_that_did_not_arrive(look, served):
    """What is certified is what stands on the pad, though the page was not loaded anew."""
    looked = look()
    page = looked.go(f"/models/{served.web.model}")
    page.locator("#tab-draw").click()
    draw(page, 0.25)
    page.evaluate(  # a drawing is submitted twice: to make a file of it, and to send that
        "window.held = 0; document.querySelector('[data-render]').addEventListener("
        "'submit', (event) => { if (held < 2 && ++held) event.preventDefault(); })"
    )
    page.get_by_role("button", name="Certify", exact=True).click()
    page.wait_for_function("() => held === 2")
    page.locator("#pad-clear").click()
    draw(page, 0.75)
    page.get_by_role("button", name="Certify", exact=True).click()
    page.wait_for_url("**/jobs/*")
    pixels = served.web.site.jobs.get(page.url.rsplit("/", 1)[1]).pixels()[0, 0]
    assert pixels[4, 5:7].max() > 100 and pixels[:, :3].max() == 0


def test_a_page_says_that_the_server_is_silent_and_goes_on_with_it(look, served):
    name, looked = served.web.certify(n="1000000"), look()
    looked.page.route("**/live*", lambda route: route.abort())
    page = looked.go(f"/jobs/{name}")
    silence = page.get_by_text("The server does not answer")
    silence.wait_for()
    page.unroute("**/live*")
    silence.wait_for(state="hidden")
    page.route("**/live*", lambda route: route.fulfill(status=404))
    page.reload()
    page.get_by_text("This job is not there any more").wait_for()
    served.web.post(f"/jobs/{name}/stop")
    served.web.ended(name)
    assert all("Failed to load resource" in text for text in looked.complaints)
    looked.complaints.clear()


def test_more_pages_follow_a_job_than_a_browser_has_connections(look, served):
    name, looked = served.web.certify(n="1000000"), look()
    pages = [looked.page, *(looked.page.context.new_page() for _ in range(7))]
    for page in pages:
        page.goto(f"{served.address}/jobs/{name}")
        page.locator("#stop").wait_for()
    pages[-1].locator("#stop").click()
    for page in pages:
        page.locator("#further").wait_for()


def test_a_file_that_is_too_large_is_said_in_words(look, served):
    looked = look()
    page = looked.go(f"/models/{served.web.model}")
    page.locator("label", has_text="Your own").click()
    page.locator("#file").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": bytes(12 << 20)})
    page.locator("#preview").wait_for()
    said = page.locator("#preview-said").inner_text()
    assert said.startswith("What was sent is too large. This address takes at most 11 MB") and "<" not in said
    looked.complaints.clear()


def test_an_upload_is_shown_as_the_model_sees_it(look, served):
    from web_examples import picture

    page = look().go(f"/models/{served.web.model}")
    page.locator("label", has_text="Your own").click()
    page.locator("#file").set_input_files({"name": "me.png", "mimeType": "image/png", "buffer": picture()})
    page.locator("#preview img").wait_for()
    assert "resized from 20 x 30 to 8 x 8" in page.locator("#preview-said").inner_text()
    assert page.evaluate("document.querySelector('#preview img').naturalWidth") == 8


@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(look, screens, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    looked = look(color_scheme=scheme, bypass_csp=True)
    page = looked.go(screens[name])
    for details in page.locator("details:not([hidden]) > summary").all():
        details.click()
    found = Axe().run(page)
    looked.complaints[:] = [text for text in looked.complaints if name != "error"]
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("name", SCREENS)
def test_nothing_is_cut_off_at_320_pixels(look, screens, name):
    looked = look(width=320)
    page = looked.go(screens[name])
    for details in page.locator("details:not([hidden]) > summary").all():
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    top = "document.querySelector('{}').getBoundingClientRect().top"
    assert page.evaluate(f"{top.format('.wordmark')} - {top.format('.bar-top')}") >= 4  # not at the very edge
    looked.complaints[:] = [text for text in looked.complaints if name != "error"]


def test_a_name_of_one_long_word_is_broken(look, served):
    from web_examples import picture

    data = {"file": (io.BytesIO(picture()), "x" * 150 + ".png"), "n": "300"}
    answer = served.web.post(f"/models/{served.web.model}/certify", data, content_type="multipart/form-data")
    job = served.web.ended(answer.location.rsplit("/", 1)[1])
    assert look(width=320).go(f"/jobs/{job.id}").evaluate("() => document.documentElement.scrollWidth") <= 320


def test_nothing_moves_for_those_who_asked_for_that(look, screens):
    moving = "getComputedStyle(document.querySelector('.bars .fill')).transitionDuration"
    assert look(reduced_motion="reduce").go(screens["job"]).evaluate(moving) == "0s"
    assert look(reduced_motion="no-preference").go(screens["job"]).evaluate(moving) != "0s"


def test_a_zip_is_taken(look, served):
    import zipfile

    from web_examples import picture

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("one.png", picture())
    page = look().go(f"/models/{served.web.model}/batch")
    page.locator("#file").set_input_files({"name": "x.zip", "mimeType": "application/zip", "buffer": buffer.getvalue()})
    page.get_by_role("button", name="Certify them").click()
    page.get_by_text("Done: 1 of 1 image;").first.wait_for()
