"""The pages in a real browser: offline, whole, harmless and readable."""

import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dalmax_sk.evaluation import BudgetCurves, compare
from dalmax_sk.reports import (
    write_comparison_page,
    write_results_page,
    write_run_page,
)

pytest.importorskip("selenium", reason="the browser tests need selenium")
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on this machine"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = Options()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability(
        "goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"}
    )
    # selenium's own log is not the package's
    logging.getLogger("selenium").setLevel(logging.WARNING)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser):
    """Open a page with the network off; check what holds for every page."""

    def go(path, width=1400):
        browser.get_log("performance"), browser.get_log("browser")
        browser.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": True, "latency": 0, "downloadThroughput": 0}
            | {"uploadThroughput": 0},
        )
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.get(Path(path).as_uri())
        events = [
            json.loads(entry["message"])["message"]
            for entry in browser.get_log("performance")
        ]
        asked = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        outside = [url for url in asked if not url.startswith("data:")]
        assert outside == [Path(path).as_uri()]
        assert browser.get_log("browser") == []
        with pytest.raises(NoAlertPresentException):
            _ = browser.switch_to.alert.text
        assert_images_are_whole(browser)
        return browser

    return go


def assert_images_are_whole(browser):
    broken = browser.execute_script(
        "return Array.from(document.images).filter("
        "i => !i.complete || i.naturalWidth === 0).map(i => i.alt)"
    )
    assert broken == []


def overflow(browser):
    """How far the page is wider than the window, in pixels."""
    return browser.execute_script(
        "return document.documentElement.scrollWidth - window.innerWidth"
    )


def column(browser, table, number):
    cells = browser.find_elements(
        By.CSS_SELECTOR, f"#{table} tbody tr td:nth-child({number})"
    )
    return [cell.text for cell in cells]


def sections(browser):
    return {
        part.get_attribute("id"): part.text
        for part in browser.find_elements(By.CSS_SELECTOR, "main > section")
    }


def curves(strategies, n_seeds):
    rng = np.random.default_rng(0)
    rows = [
        {
            "strategy": strategy,
            "split": 0,
            "seed": seed,
            "round": number,
            "n_labeled": 10 + 10 * number,
            "score_accuracy": 0.5
            + 0.05 * number
            + 0.01 * place * number
            + (rng.normal(0, 0.005) if number else 0),
            "fit_seconds": 1.0,
            "query_seconds": 0.5,
        }
        for place, strategy in enumerate(strategies)
        for seed in range(n_seeds)
        for number in range(5)
    ]
    return BudgetCurves(pd.DataFrame(rows))


def test_a_finished_run(make_run, visit):
    # property: every section has its content, as text that can be seen
    page = write_run_page(make_run(n_rounds=3))
    browser = visit(page)
    text = sections(browser)
    assert list(text) == [
        "curve",
        "confusion",
        "classes",
        "cost",
        "picks",
        "training",
        "settings",
    ]
    assert (
        "Finished: 3 rounds are done."
        in browser.find_element(By.TAG_NAME, "header").text
    )
    assert "80.00 %" in text["curve"]
    assert "83.3 % of the predictions are right" in text["confusion"]
    assert "precision" in text["classes"]
    assert "1.00 GB" in text["cost"] or "1 GB" in text["cost"]
    assert "predicted the same" in text["picks"]
    assert "nearest labelled" in text["picks"]
    assert "scikit-learn" in text["settings"]
    assert len(browser.find_elements(By.CSS_SELECTOR, "#picks img")) == 2 * 9


def test_tables_sort(make_run, visit):
    browser = visit(write_run_page(make_run([f"class {i}" for i in range(12)])))
    before = column(browser, "classes", 1)
    assert before == [f"class {i}" for i in range(12)]
    heads = browser.find_elements(By.CSS_SELECTOR, "#classes th button")
    heads[2].click()  # recall, ascending
    recall = [float(cell.rstrip(" %")) for cell in column(browser, "classes", 3)]
    assert recall == sorted(recall)
    assert recall[0] < 100
    assert column(browser, "classes", 1)[0] == "class 0"
    heads[2].click()
    recall = [float(cell.rstrip(" %")) for cell in column(browser, "classes", 3)]
    assert recall == sorted(recall, reverse=True)
    heads[0].click()  # names: 2 before 10
    assert column(browser, "classes", 1) == before


@pytest.mark.parametrize("width", [400, 1400])
def test_hostile_names_do_nothing(make_run, visit, width, hostile):
    # properties: names are shown as they are, nothing of them runs or is fetched, and
    # even 200 letters without a space do not widen the page
    page = write_run_page(make_run(**hostile))
    browser = visit(page, width)
    assert overflow(browser) <= 0
    text = sections(browser)
    for name in hostile["classes"]:
        assert name in browser.execute_script("return document.body.textContent"), name
    assert "a␊b.png" in text["picks"]
    status = browser.find_element(By.CSS_SELECTOR, ".status").text
    assert "</pre><script>alert(4)</script>\nsecond line & more" in status
    alts = [i.get_attribute("alt") for i in browser.find_elements(By.TAG_NAME, "img")]
    assert any("<img src=x onerror=alert(1)>" in alt for alt in alts)
    # what the page is made of: nothing that the names brought
    tags = browser.execute_script(
        "return Array.from(document.querySelectorAll('svg, b, i, u, iframe, [onerror],"
        " [onload], [onclick], [style]')).map(e => e.outerHTML)"
    )
    assert tags == []
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 1


def test_the_policy_stops_what_escaping_would_miss(make_run, visit, tmp_path):
    # property: a page into which markup did get runs nothing of it
    page = write_run_page(make_run())
    bad = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'"
    text = page.read_text("utf-8").replace("<main>", f"<main>{bad}</script>")
    (tmp_path / "bad.html").write_text(text, "utf-8")
    browser = visit(page)
    browser.get((tmp_path / "bad.html").as_uri())
    assert "owned" not in browser.title
    # the same page without the policy does run it
    bare, n_policies = re.subn(r"<meta http-equiv[^>]*>", "", text)
    assert n_policies == 1
    (tmp_path / "bare.html").write_text(bare, "utf-8")
    browser.get((tmp_path / "bare.html").as_uri())
    assert browser.title == "owned"
    browser.get_log("browser")  # what it refused is no fault of the next page


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("n_classes", [2, 30, 100])
def test_no_page_is_wider_than_the_window(make_run, visit, width, n_classes):
    page = write_run_page(make_run([f"a class named {i}" for i in range(n_classes)]))
    assert overflow(visit(page, width)) <= 0


def test_a_run_that_failed(make_run, visit):
    folder = make_run(status="failed", error="ValueError: the disk is full")
    browser = visit(write_run_page(folder))
    head = browser.find_element(By.TAG_NAME, "header").text
    assert "Failed: 2 of 2 rounds are done" in head
    assert "the disk is full" in head
    assert "Not recorded" in sections(browser)["confusion"]


def test_the_page_of_all_runs(make_run, visit):
    folder = make_run()
    make_run(name="core_set_selection")
    make_run(name="badge", results="results/#1 <b>&?")
    browser = visit(write_results_page(folder.parents[1]))
    links = browser.find_elements(By.CSS_SELECTOR, "#runs a")
    assert [link.text for link in links] == [
        "#1 <b>&?/badge",
        "core_set_selection",
        "uncertainty_sampling",
    ]
    for address in [link.get_attribute("href") for link in links]:
        browser.get(address)
        assert browser.title.startswith("Active learning with ")


def test_the_page_of_a_comparison(visit, tmp_path):
    names = ["random_sampling", "<img src=x onerror=alert(1)>", "badge"]
    comparison = compare(curves(names, 5), n_bootstrap=199)
    page = write_comparison_page(comparison, tmp_path / "c.html", config={"a": "<b>"})
    for width in (400, 1400):
        browser = visit(page, width)
        assert overflow(browser) <= 0
    text = sections(browser)
    for sentence in comparison.verdicts.values():
        assert sentence in text["verdicts"]
    # the tables inside the page are those of the comparison
    links = browser.find_elements(By.CSS_SELECTOR, "#files a")
    assert [link.text for link in links][-1] == "curves.csv"
    assert len(links) == 5


def test_the_page_of_a_single_seed(visit, tmp_path):
    page = write_comparison_page(
        curves(["random_sampling", "badge"], 1), tmp_path / "c.html"
    )
    text = sections(visit(page))
    assert "One seed only" in text["verdicts"]
    assert "badge" in text["table"]
