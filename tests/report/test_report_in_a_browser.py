"""The page as a reader sees it: rendered by headless Chromium, on a phone and a desktop, light, dark and on paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import example_reports as examples
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from assay.report import write_report

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PHONE, DESKTOP = 390, 1280
REPORTS = ("digits", "signs", "clean", "bare", "hostile")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to render the report with")

CONTRASTS = """() => {
  const parse = c => { const [r, g, b, a = 1] = c.match(/[\\d.]+/g).map(Number); return {r, g, b, a}; };
  const line = v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
  const light = c => .2126 * line(c.r) + .7152 * line(c.g) + .0722 * line(c.b);
  const ground = e => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.a === 1) return c; } return {r: 255, g: 255, b: 255}; };
  const low = [];
  for (const e of document.body.querySelectorAll('*')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const text = parse(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(text), light(ground(e))].sort((x, y) => x - y);
    const ratio = (b + .05) / (a + .05);
    if (ratio < (e.textContent === '■' ? 3 : 4.5)) low.push([ratio.toFixed(2), e.tagName, e.textContent]);
  }
  return low;
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    return {name: write_report(getattr(examples, name)(), folder / f"{name}.html") for name in REPORTS}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=[(PHONE, "light"), (PHONE, "dark"), (DESKTOP, "light"), (DESKTOP, "dark")],
                ids=lambda p: f"{p[0]}-{p[1]}")  # fmt: skip
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    width, mode = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=mode)
    yield context
    context.close()


@pytest.mark.parametrize("name", REPORTS)
def test_the_page_fits_loads_and_can_be_read(context: BrowserContext, pages: dict[str, Path], name: str) -> None:
    page = context.new_page()
    told, asked = watched(page)
    page.goto(pages[name].as_uri())
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length") == 0
    assert page.evaluate(CONTRASTS) == []
    assert all(heading.is_visible() for heading in page.locator("h1, h2, h3").all())
    assert told == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in asked) == 1


def watched(page: Page) -> tuple[list[str], list[str]]:
    """What the page complains of or pops up, and what it asks for."""
    told: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    return told, asked


def opened(browser: Browser, path: Path, width: int = DESKTOP, mode: str = "light") -> Page:
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=mode)  # type: ignore[arg-type]
    page.goto(path.as_uri())
    return page


def luminance(page: Page, selector: str) -> float:
    """Of the background, 0 to 255."""
    colour = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).backgroundColor")
    return sum(int(part) for part in colour[4:-1].split(",")) / 3


def test_dark_mode_is_dark_and_light_mode_is_light(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["digits"], mode="dark") as dark, opened(browser, pages["digits"]) as light:
        assert luminance(dark, "body") < 40 and luminance(dark, ".verdict") < 70
        assert luminance(light, "body") > 240 and luminance(light, ".verdict") > 220


@pytest.mark.parametrize(("name", "word"), [("digits", "Backdoored"), ("clean", "Clean"), ("bare", "Inconclusive")])
def test_the_verdict_is_a_word_and_a_sign_of_its_own(
    browser: Browser, pages: dict[str, Path], name: str, word: str
) -> None:
    with opened(browser, pages[name], PHONE) as page:
        badge = page.locator(".verdict > .badge")
        box = badge.bounding_box()
        assert badge.inner_text() == word
        assert badge.locator("svg path, svg circle").count() == 2
        assert box is not None and box["y"] < 300


def test_hostile_strings_run_nothing(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["hostile"]) as page:
        assert page.evaluate("document.scripts.length") == 0
        assert page.locator("img[src=x], [onerror]").count() == 0
        assert "<script>alert(1)</script>" in page.locator("h1").inner_text()
        assert "<script>" in page.title()


def test_the_policy_stops_a_script_that_came_in(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["digits"]) as page:
        page.evaluate("""() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';
                         document.body.append(s); }""")
        assert page.evaluate("window.ran") is None


def test_each_width_shows_one_version_of_each_chart(browser: Browser, pages: dict[str, Path]) -> None:
    for width in (PHONE, DESKTOP):
        with opened(browser, pages["digits"], width) as page:
            shown = page.locator(".chart svg").evaluate_all("all => all.filter(s => s.getClientRects().length).length")
            assert shown == page.locator(".chart").count() == 4


def test_chart_text_is_never_smaller_than_eleven_pixels(browser: Browser, pages: dict[str, Path]) -> None:
    for width in (320, PHONE, 768, DESKTOP):
        with opened(browser, pages["digits"], width) as page:
            sizes = page.locator(".chart svg").evaluate_all(
                "all => all.filter(s => s.getClientRects().length).map(s => s.getBoundingClientRect().width "
                "/ s.viewBox.baseVal.width * 12)"
            )
            assert min(sizes) >= 10.2 if width == 320 else min(sizes) >= 11


def test_the_command_is_selected_whole_by_a_click(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["digits"]) as page:
        page.locator(".command").click()
        assert page.evaluate("getSelection().toString()").strip() == examples.digits().command


def test_paper_is_white_even_for_a_reader_in_the_dark(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["digits"], mode="dark") as page:
        page.emulate_media(media="print", color_scheme="dark")
        assert luminance(page, "body") == 255
        assert page.evaluate(CONTRASTS) == []
        assert not page.locator("nav").is_visible()


@pytest.mark.parametrize("name", REPORTS)
def test_nothing_is_cut_off_on_paper(browser: Browser, pages: dict[str, Path], name: str) -> None:
    with opened(browser, pages[name], width=680) as page:  # A4 within its margins, in CSS pixels
        page.emulate_media(media="print")
        wide = page.evaluate(
            "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
            ".map(e => e.tagName + '.' + (e.className.baseVal ?? e.className))"
        )
        assert wide == []
        assert page.pdf(format="A4").startswith(b"%PDF")
