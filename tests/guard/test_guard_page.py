"""The operator's page in a real browser: it shows quarantine, repair and swap as they happen, on a phone as well."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from assay.guard import Guard, Stream, send, wait_until
from guard_task import TARGET, TOKEN, closed_stores, guard_on, pictures, served, stamped  # noqa: F401

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PHONE, DESKTOP = 390, 1280

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to show the page with")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Guard:
    return guard_on(tmp_path_factory.mktemp("page") / "guard.db", enough=100)


@pytest.fixture(scope="module")
def url(guard: Guard) -> Iterator[str]:
    with served(guard) as address:
        wait_until(address, lambda health: bool(health["guarded"]), 60, "waiting")
        yield address


def opened(browser: Browser, url: str, width: int = DESKTOP) -> tuple[Page, list[str]]:
    page = browser.new_page(viewport={"width": width, "height": 844})
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(f"{url}/?token={TOKEN}")
    return page, told


def stream(n: int, seed: int) -> Stream:
    data = pictures(n, seed)
    bad = (np.random.default_rng(seed).random(n) < 0.25) & (data.y != TARGET)
    x = np.where(bad[:, None, None, None], stamped(data.x), data.x)
    return Stream(x, data.y, bad, np.full(n, TARGET))


def test_the_page_shows_quarantine_repair_and_swap_and_goes_back_at_a_click(browser: Browser, url: str) -> None:
    page, told = opened(browser, url)
    expect(page.locator("h1")).to_have_text("Version 1 serves beside the received network")
    expect(page.locator("#quarantine")).to_contain_text("Nothing yet")
    send(url, stream(700, 5), connections=4)
    expect(page.locator("#quarantine img").first).to_be_visible(timeout=20_000)
    expect(page.locator("h1")).to_have_text("Version 2 serves beside the received network", timeout=120_000)
    expect(page.locator("#trigger .pair")).to_have_count(8, timeout=20_000)
    expect(page.locator("#log")).to_contain_text("version 2 (repaired) serves", timeout=20_000)
    expect(page.locator("#versions .serving")).to_contain_text("repaired", timeout=20_000)
    page.get_by_role("button", name="Roll back one version").click()
    expect(page.locator("h1")).to_have_text("Version 1 serves beside the received network", timeout=20_000)
    expect(page.get_by_role("button", name="Turn automatic repairs on again")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="Let version 2 serve").click()
    expect(page.locator("h1")).to_have_text("Version 2 serves beside the received network", timeout=20_000)
    assert told == []
    page.close()


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_nothing_is_cut_off_and_every_picture_loads(browser: Browser, url: str, width: int) -> None:
    page, told = opened(browser, url, width)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.evaluate("[...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length") == 0
    assert page.evaluate("[...document.images].every(i => i.alt)")
    assert told == []
    page.close()


def test_without_the_token_there_is_a_form_and_nothing_else(browser: Browser, url: str) -> None:
    page = browser.new_context().new_page()
    page.goto(url)
    assert "Quarantine" not in page.content()
    page.get_by_label("Token").fill("wrong token, really")
    page.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button").click()
    expect(page.locator("#versions")).to_be_visible()
    page.close()
