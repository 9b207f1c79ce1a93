"""`labelscrub review` itself, with a browser in front of it: two tabs, one journal, and nobody else."""

from __future__ import annotations

import json
import shutil

import pytest
from review_runs import finished_run, reviewing


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    return folder, finished_run(folder)


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished[0] / "run", tmp_path / "run")
    return tmp_path / "run"


def lines(run):
    path = run / "decisions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def look(tab):
    tab.page.evaluate("dispatchEvent(new Event('focus'))")


def test_two_tabs_and_a_restart_agree(open_tab, run):
    with reviewing(run) as (process, url):
        tab = open_tab(url)
        here = url.partition("?")[0]
        assert tab.page.url == here  # the token is not left in the address
        other = open_tab(here)
        tab.press("k r")
        tab.wait(lambda: len(lines(run)) == 2)
        look(other)
        other.until("2 of 6 decided: 1 keep, 1 relabel, 0 remove")
        other.page.locator(".card").nth(2).focus()
        other.press("x")
        other.wait(lambda: len(lines(run)) == 3)
        look(tab)
        tab.until("3 of 6 decided: 1 keep, 1 relabel, 1 remove")
        tab.page.locator(".picture").nth(3).click()
        tab.wait(lambda: tab.page.evaluate("document.querySelector('#view .large img').naturalWidth") == 10)
        tab.check()
        other.check()
        stranger = open_tab(here, fresh=True)
        assert "labelscrub review printed" in stranger.page.inner_text("body")
        assert stranger.page.locator(".card").count() == 0
    assert process.returncode == 0
    assert [line["choice"] for line in lines(run)] == ["keep", "relabel", "remove"]
    assert len({line["row"] for line in lines(run)}) == 3
    with reviewing(run) as (process, url):
        again = open_tab(url, fresh=True)
        again.until("3 of 6 decided: 1 keep, 1 relabel, 1 remove")
        again.check()


ATTACK = """async (target) => {
  const said = [];
  for (const options of [{}, { mode: "no-cors", method: "POST", body: target.decision }])
    try {
      said.push((await fetch(target.url, { credentials: "include", ...options })).type);
    } catch {
      said.push("failed");
    }
  return said;
}"""


def test_another_sites_page_gets_nothing(open_tab, finished, run, tmp_path):
    """A page from elsewhere, in the browser that is signed in: frame, picture, form, fetch."""
    row = finished[1][0]
    with reviewing(run) as (_, url):
        here = url.partition("?")[0]
        open_tab(url).until("0 of 6")
        page = tmp_path / "evil.html"
        page.write_text(
            f"""<iframe src="{here}"></iframe><img src="{here}image/{row}.webp">
            <form method="post" enctype="text/plain" action="{here}decisions">
            <input name='{{"row": {row}, "choice": "remove", "x": "' value='"}}'></form>"""
        )
        evil = open_tab(page.as_uri())
        decision = json.dumps({"row": row, "choice": "keep"})
        said = evil.page.evaluate(ATTACK, {"url": here + "decisions", "decision": decision})
        assert said[0] == "failed"
        assert evil.page.evaluate("document.querySelector('img').naturalWidth") == 0
        assert all(frame.url != here or "suspects" not in frame.content() for frame in evil.page.frames)
        with evil.page.expect_navigation():
            evil.page.evaluate("document.querySelector('form').submit()")
        assert "Another site may not ask here" in evil.page.inner_text("body")
    assert lines(run) == []
