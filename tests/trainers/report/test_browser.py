"""The reports in a real browser, as a phone and as a desktop show them; needs chromium, which CI must have."""

import os
import shutil
from pathlib import Path

import pytest

from easydel.data.pair import Limits
from easydel.data.prepare import TokenizeConfig
from easydel.inspect.inspection import inspect_pairs
from easydel.inspect.page import write_inspect_page
from easydel.inspect.tokens import inspect_tokens
from easydel.trainers.report.page import write_comparison, write_report
from oracles.pages import COUNTS, EVIL, LENGTHS, write_answers, write_run
from oracles.planted import Words
from oracles.tokenizers import tiny_tokenizer

PHONE, DESKTOP = (390, 844), (1280, 900)
ANOTHER_SIZE = pytest.mark.parametrize(("width", "height"), [PHONE, DESKTOP], ids=["phone", "desktop"])
SCHEME = pytest.mark.parametrize("scheme", ["light", "dark"])
LONG = "a_name_without_a_place_to_break_" * 8


@pytest.fixture(scope="module")
def browser():
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        reason = "no chromium here: install one, such as Debian's package chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # Chromium has no sandbox for root; the pages are our own.
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report and a comparison, of runs with long names, hostile text and every part that a report can have."""
    root: Path = tmp_path_factory.mktemp("runs")
    whole = COUNTS | LENGTHS | {"truncated": {LONG: 1}}
    folders = []
    for name in ("first", LONG):
        folder = write_run(root / name[:20], name, data={"train": whole, "eval": whole}, learning_rate=1e-4)
        write_answers(folder, f"{LONG} {EVIL}", (0, EVIL), (20, LONG), (30, "Yes.\nNo."))
        folders.append(folder)
    return {
        "report": write_report(folders[1]),
        "comparison": write_comparison(folders, root / "both.html"),
        "inspection": write_inspection(root / "inspect.html"),
    }


def write_inspection(file: Path) -> Path:
    """Writes the page about pairs with long and hostile texts, of sources with long names, and their tokens."""
    words = Words(0)
    rows = [words.row(prompt=f"{LONG} {at} {EVIL}", chosen=f"{EVIL} {'long ' * 30}{at}") for at in range(60)]
    rows += [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows[:3]]
    found = inspect_pairs([(row, f"{LONG}{at % 2}{EVIL}") for at, row in enumerate(rows)], names=[f"{LONG}.jsonl"])
    config = TokenizeConfig(
        tiny_tokenizer(chat_template="{{ messages }}"), Limits(max_length=300, truncation_mode="keep_end")
    )
    found = found.with_tokens(inspect_tokens(rows, config, found.facts.kinds))
    return write_inspect_page(file, found, [(row, "") for row in rows], {})


@pytest.fixture
def opened(browser, pages):
    """Opens a page at a size, offline; in the end nothing may have been logged or asked for but the page itself."""
    said, asked, contexts = [], [], []

    def open_page(name, width, height, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(pages[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} <= {path.as_uri() for path in pages.values()}


@pytest.mark.parametrize("name", ["report", "comparison", "inspection"])
@ANOTHER_SIZE
def test_a_page_is_as_wide_as_the_screen_and_nothing_sticks_out(opened, name, width, height):
    page = opened(name, width, height)
    for fold in page.locator("summary").all():
        fold.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cards = page.locator(".card").evaluate_all("cards => cards.map(card => card.getBoundingClientRect().right)")
    assert cards
    assert max(cards) <= width


@ANOTHER_SIZE
def test_pointing_at_a_chart_shows_the_values_of_all_its_lines(opened, width, height):
    page = opened("report", width, height)
    chart, tip = page.locator(".plot svg").first, page.locator("#tip")
    assert not tip.is_visible()
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    chart.hover(position={"x": box["width"] * 0.97, "y": box["height"] / 2})
    assert tip.inner_text().split() == ["step", "30", "train", "0.25", "eval", "0.31"]
    place = tip.bounding_box()
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= width
    page.mouse.move(1, 1)
    assert not tip.is_visible()


def test_the_arrow_keys_move_along_a_chart(opened):
    page = opened("report", *DESKTOP)
    tip = page.locator("#tip")
    page.locator(".plot svg").first.focus()
    page.keyboard.press("ArrowLeft")  # from step 30
    assert tip.inner_text().split("\n")[0] == "step 10"
    assert "eval (step 0)" in tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert tip.inner_text().startswith("step 30")
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_bars_tell_their_lengths_and_counts(opened):
    page = opened("report", *DESKTOP)
    chart = page.locator("figure", has_text="Completions, train").locator(".plot svg")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#tip").inner_text().split() == ["2", "to", "3", "tokens", "chosen", "3", "rejected", "3"]


@SCHEME
def test_text_stands_out_from_what_is_behind_it(opened, scheme):
    """WCAG 2.1, 1.4.3: a contrast of 4.5 to 1 for text; 1.4.11: 3 to 1 for lines that carry meaning."""
    page = opened("report", *DESKTOP, scheme=scheme)
    names = ["--ink", "--soft", "--paper", "--back", *(f"--c{number}" for number in range(8))]
    colors = page.evaluate(
        "names => names.map(n => getComputedStyle(document.documentElement).getPropertyValue(n).trim())", names
    )
    of = dict(zip(names, map(luminance, colors), strict=True))
    for text in ("--ink", "--soft"):
        assert min(contrast(of[text], of[behind]) for behind in ("--paper", "--back")) >= 4.5
    assert min(contrast(of[f"--c{number}"], of["--paper"]) for number in range(8)) >= 3


def luminance(color: str) -> float:
    """Returns the relative luminance of `#rrggbb` as WCAG 2.1 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
