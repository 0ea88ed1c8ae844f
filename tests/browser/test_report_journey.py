"""The HTML report in a real headless Chromium: opened, filtered, edits taken out, the command copied and run.

Needs Chromium (Debian's package `chromium`) and the dependency group `browser`; without them the tests are skipped
with the reason.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_promptopt import optimize
from langchain_promptopt.offline import demo_prompt, demo_rows

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="the browser tests need the dependency group `browser` (make journey)"
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need Chromium on the PATH, or its path in CHROMIUM"),
]
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with a prompt file and a finished run of it, the report beside it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "prompt.txt").write_text(demo_prompt(), "utf-8")
    from langchain_core.prompts import ChatPromptTemplate

    result = optimize(
        ChatPromptTemplate.from_template(demo_prompt()), data=demo_rows(), evaluators=["exact_match"],
        task_model="offline", optimizer_model="offline", method="lpo-pe2", apply="never",
        runs_dir=folder / ".promptopt" / "runs", openings=folder / "openings.jsonl",
    )  # fmt: skip
    assert len(result.edits) > 1, "the journey needs edits to choose from"
    result.report(folder / "report.html")
    return folder


@pytest.fixture
def page(project):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        context = browser.new_context(viewport={"width": 1200, "height": 900})
        opened = context.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        opened.goto((project / "report.html").as_uri())
        yield opened
        assert errors == []
        browser.close()


def shown_rows(page) -> int:
    return page.locator('[aria-label="examples of test"] tbody tr:visible').count()


def test_examples_are_filtered_and_searched(page):
    whole = shown_rows(page)
    section = page.locator('[aria-label="examples of test"]')
    better = int(page.locator(".tile", has_text="better").locator("b").inner_text().split(" better")[0])
    section.get_by_label("got better").check()
    assert shown_rows(page) == better < whole
    section.get_by_label("all").check()
    section.get_by_placeholder("Search").fill("refund")
    found = shown_rows(page)
    assert 0 < found < whole
    assert f"{found} of {whole} examples" in section.inner_text()


def test_an_edit_is_taken_out_and_the_copied_command_writes_the_rest(page, project):
    boxes = page.locator("input[data-edit]")
    n = boxes.count()
    before = page.locator("textarea[data-message]").first.input_value()
    boxes.first.uncheck()
    after = page.locator("textarea[data-message]").first.input_value()
    assert after != before
    assert page.locator('del[data-n="1"].out, ins[data-n="1"].out').count() >= 1
    page.locator('button[data-copy="apply-command"]').click()
    copied = page.evaluate("() => document.getElementById('apply-command').textContent")
    assert f"--edits {','.join(map(str, range(2, n + 1)))}" in copied
    page.get_by_role("status").filter(has_text="Copied").wait_for(state="attached")
    words = shlex.split(copied.replace("FILE", "prompt.txt"))[1:]
    extra = [] if "--force" in words else ["--force"]  # a part of the edits is untested
    done = subprocess.run(
        [sys.executable, "-m", "langchain_promptopt", *words, *extra],
        cwd=project, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (project / "prompt.txt").read_text("utf-8") == after


def test_the_page_works_by_keyboard_and_at_400_pixels(page):
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 400
    box = page.locator("input[data-edit]").first
    box.focus()
    page.keyboard.press("Space")
    assert not box.is_checked()


FOCUSED = """() => {
    const e = document.activeElement;
    return [e.dataset.edit || e.dataset.copy || e.placeholder || e.type || e.tagName, getComputedStyle(e).outlineStyle];
}"""


def test_every_control_is_reached_by_tab_and_used_by_keys(page):
    whole, walked = shown_rows(page), []
    for _ in range(80):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(FOCUSED)
        if name == "BODY":
            break
        assert outline == "solid", f"{name} has the focus and does not show it"
        walked.append(name)
        if name == "radio":
            page.keyboard.press("ArrowRight")
            assert shown_rows(page) < whole
        elif name == "Search":
            page.keyboard.type("no example has this")
            assert shown_rows(page) == 0
        elif name == "apply-command":
            page.keyboard.press("Enter")
            page.get_by_role("status").filter(has_text="Copied").wait_for(state="attached")
    boxes = [box.get_attribute("data-edit") for box in page.locator("input[data-edit]").all()]
    assert [name for name in walked if name in boxes] == boxes
    assert {"apply-command", "message-1", "radio", "Search", "SUMMARY"} <= set(walked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_printed_dark_on_white_and_without_controls(page, scheme):
    page.emulate_media(media="print", color_scheme=scheme)
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 without its margins
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 718
    assert page.locator(".bar:visible, .copy:visible, .choose:visible").count() == 0
    style = "s => { const c = getComputedStyle(document.querySelector(s)); return [c.color, c.backgroundColor]; }"
    for place in ("body", ".verdict", ".tile", ".card"):
        ink, paper = (sum(map(int, re.findall(r"\d+", c)[:3])) for c in page.evaluate(style, place))
        assert (ink < 200, paper > 700) == (True, True), place
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_accessibility_finding(page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the dependency group `browser`")
    page.emulate_media(color_scheme=scheme)
    for details in page.locator("details").all():
        details.evaluate("d => d.open = true")
    found = axe.Axe().run(page).response["violations"]
    serious = [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in {"serious", "critical"}]
    assert serious == []
