"""report.html opened from the disk: keys, decisions, filters, ten thousand cards, strangers' names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reports import HOSTILE, calibration

from labelscrub.curation.decisions import parse_decisions
from labelscrub.reporting.text import printable


def saved(tab, tmp_path):
    with tab.page.expect_download() as download:
        tab.page.click("#save")
    path = tmp_path / "decisions.jsonl"
    assert download.value.suggested_filename == "decisions.jsonl"
    download.value.save_as(path)
    return parse_decisions(path.read_text(encoding="utf-8"), "saved")


def test_hostile_names_do_nothing(open_tab, stored, tmp_path):
    classes = [name for name in HOSTILE if name != "lone \ud800 surrogate"]
    address, report = stored(
        classes=classes, used=40, suspects=30, paths=[HOSTILE[i % len(HOSTILE)] for i in range(43)]
    )
    tab = open_tab(address)
    tab.press("k r x 2 Enter j r Escape ? Escape")
    tab.page.select_option("#given", "0")
    tab.page.click("#reset")
    tab.page.locator("#matrix button").first.click()
    tab.page.fill("#query", "</script>")
    tab.wait(lambda: "match" in tab.page.inner_text("#count"))
    assert tab.page.locator("img[src='x'], bdi *").count() == 0
    assert tab.page.evaluate("Object.keys(window).filter(k => k === 'classes' || k === 'decide').length") == 0
    made = saved(tab, tmp_path)
    listed = [row for row in report.suspects() if row["rank"] <= 5]
    assert [(d.row, d.path, d.given_label) for d in made] == [
        (row["row"], printable(row["path"]), printable(row["given_label"]))
        for row in [*listed[:4], report.suspects()[5]]
    ]
    tab.check()
    assert all(url.startswith(("file:", "data:", "blob:")) for url in tab.requests)


def test_a_run_through_by_keyboard(open_tab, stored, tmp_path):
    address, report = stored(used=30, suspects=10, conflicts=0)
    rows = report.suspects()
    tab = open_tab(address)
    assert tab.progress == "0 of 10 decided"
    assert tab.page.locator("#next").is_hidden()
    tab.press("k r 2 x j k")
    assert tab.progress == "5 of 10 decided: 2 keep, 2 relabel, 1 remove"
    assert tab.current == "#7"
    tab.press("u u")
    assert tab.progress == "3 of 10 decided: 1 keep, 2 relabel, 0 remove"
    assert tab.current == "#4"
    tab.press("x p p p")
    assert tab.current == "#2"
    assert tab.page.locator(".card.current .verdict").inner_text() == rows[1]["suggested_label"]
    tab.press("3")  # of three classes the third probable one is the given one: it is kept
    made = saved(tab, tmp_path)
    by_rank = {decision.row: decision for decision in made}
    assert [(by_rank[row["row"]].choice, by_rank[row["row"]].label) for row in rows[:4]] == [
        ("keep", ""),
        ("keep", ""),
        ("relabel", report.manifest.classes[(report.findings.suggested[2] + 1) % 3]),
        ("remove", ""),
    ]
    for decision in made:
        row = next(row for row in rows if row["row"] == decision.row)
        assert (decision.path, decision.given_label, decision.sha256) == (
            row["path"],
            row["given_label"],
            row["sha256"],
        )
    command = tab.page.locator("#next code").inner_text()
    assert command == f"labelscrub prune {tmp_path} --decisions decisions.jsonl --action manifest"
    tab.check()


def test_all_decided_says_so_and_undo_brings_back_what_a_filter_hides(open_tab, stored):
    address, _ = stored(used=30, suspects=3, conflicts=0)
    tab = open_tab(address)
    tab.page.select_option("#decided", "no")
    tab.page.locator(".card").first.focus()
    tab.press("k k k")
    assert tab.page.locator("#empty").inner_text().startswith("All decided")
    assert tab.ranks == []
    tab.press("u")
    assert tab.ranks == ["#3"]
    tab.page.select_option("#decided", "keep")
    assert tab.ranks == ["#1", "#2"]
    tab.check()


def test_the_larger_view(open_tab, stored):
    address, _ = stored(used=30, suspects=10, conflicts=0, classes=("ant", "bee", "cat", "dog"))
    tab = open_tab(address)
    tab.page.locator(".card").first.focus()
    tab.press("Enter")
    view = tab.page.locator("#view")
    assert view.locator("h2").inner_text() == "#1"
    assert view.locator(".ranking button").all_inner_texts() == [
        "1\nbee\n70 %",
        "2\ncat\n20 %",
        "3\ndog\n5 %",
        "4\nant\n3 %",
    ]
    assert view.locator(".example figcaption").all_inner_texts() == ["e.g. ant", "e.g. bee"]
    assert tab.page.evaluate("document.querySelector('#view .large img').classList.contains('pixels')")
    tab.press("ArrowRight j p")
    assert view.locator("h2").inner_text() == "#2"
    tab.press("2")
    assert view.locator("h2").inner_text() == "#3"
    view.locator(".other select").select_option(label="bee")
    assert view.locator("h2").inner_text() == "#3"
    view.get_by_role("button", name="Relabel", exact=True).click()
    assert view.locator("h2").inner_text() == "#4"
    view.get_by_role("button", name="Remove").click()
    view.get_by_role("button", name="Previous").click()
    assert "remove" in view.locator("h2").inner_text()
    tab.press("Escape")
    assert view.is_hidden()
    assert tab.page.evaluate("document.activeElement.dataset.index") == "3"  # rank 4
    assert tab.progress == "3 of 10 decided: 0 keep, 2 relabel, 1 remove"
    tab.press("?")
    assert "previous image" in tab.page.locator("#help").inner_text()
    tab.press("k Escape")
    assert tab.page.locator("#help").is_hidden()
    assert tab.progress.startswith("3 of 10")
    tab.check()


def test_another_class_is_chosen_by_keyboard(open_tab, stored, tmp_path):
    names = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "goat")
    address, _ = stored(used=40, suspects=10, conflicts=0, classes=names)
    tab = open_tab(address)
    tab.page.evaluate("scrollTo(0, 0)")
    tab.press("c")  # a key first brings the card into sight
    assert tab.page.locator("#view").is_hidden()
    tab.press("c")
    tab.page.keyboard.type("go")
    assert tab.progress == "0 of 10 decided"
    assert tab.page.locator(".other select").evaluate("node => node.selectedOptions[0].text") == "goat"
    assert tab.page.get_by_role("button", name="Relabel", exact=True).is_enabled()
    tab.press("Enter")
    assert tab.page.inner_text("#view h2") == "#2"
    tab.press("k c")  # letters are keys again, until the next c
    assert tab.page.inner_text("#view h2") == "#3"
    assert tab.page.evaluate("document.activeElement.closest('.other') !== null")
    tab.press("f Enter Escape")
    made = saved(tab, tmp_path)
    assert [(d.choice, d.label) for d in made] == [("relabel", "goat"), ("keep", ""), ("relabel", "fox")]
    tab.press("?")
    assert "choose another class" in tab.page.locator("#help").inner_text()
    tab.check()


def test_a_card_that_leaves_the_list_gives_its_place_to_the_next(open_tab, stored):
    address, _ = stored(used=30, suspects=10, conflicts=0)
    tab = open_tab(address)
    tab.press("k k k k")
    tab.page.select_option("#decided", "keep")
    tab.page.locator(".card").nth(2).focus()
    tab.press("x")
    assert tab.ranks == ["#1", "#2", "#4"]
    assert tab.current == "#4"
    assert tab.page.evaluate("document.activeElement.dataset.index") == "3"
    tab.press("x")
    assert tab.current == "#2"
    tab.check()


def test_come_back_to_the_controls_show_what_is_shown(open_tab, stored):
    tab = open_tab(stored(used=30, suspects=10, conflicts=0)[0])
    tab.page.select_option("#sort", "-score")
    tab.page.fill("#from", "0.9")
    tab.page.goto("about:blank")
    tab.page.go_back()  # a browser puts back what was in the fields
    tab.page.wait_for_timeout(200)
    assert (tab.page.input_value("#sort"), tab.page.input_value("#from")) == ("rank", "")


def test_the_buttons_of_a_card(open_tab, stored):
    tab = open_tab(stored(used=30, suspects=10, conflicts=0)[0])
    second = tab.page.locator(".card").nth(1)
    for name, said in (
        ("Remove", "remove"),
        ("Keep", "keep"),
        ("dog", "dog"),
        ("cat", "cat"),
        ("ship", "ship"),
    ):
        choice = second.get_by_role("button", name=name, exact=True)
        if choice.count():
            choice.click()
            assert second.locator(".verdict").inner_text() == said
            assert choice.get_attribute("aria-pressed") == "true"
    assert tab.progress == "1 of 10 decided: 0 keep, 1 relabel, 0 remove"
    second.locator("[aria-pressed=true]").click()  # once more: taken back
    assert tab.progress == "0 of 10 decided"
    assert second.locator("[aria-pressed=true]").count() == 0
    tab.press("u")
    assert tab.progress == "1 of 10 decided: 0 keep, 1 relabel, 0 remove"
    tab.check()


def test_a_card_is_seen_before_a_key_decides_on_it(open_tab, stored):
    address, _ = stored(used=30, suspects=10, conflicts=0)
    tab = open_tab(address)
    for key in ("k", "j"):
        tab.page.evaluate("scrollTo(0, 0)")
        tab.press(key)
        assert (tab.current, tab.progress) == ("#1", "0 of 10 decided")
        assert tab.page.locator(".card.current").bounding_box()["y"] < 900
    tab.page.keyboard.down("k")
    tab.page.keyboard.down("k")  # held down: a decision is one press
    tab.page.keyboard.up("k")
    assert (tab.current, tab.progress) == ("#2", "1 of 10 decided: 1 keep, 0 relabel, 0 remove")


def test_the_focus_stays_on_the_button_that_walks(open_tab, stored):
    tab = open_tab(stored(used=30, suspects=10, conflicts=0)[0])
    tab.page.locator(".card").first.focus()
    tab.press("Enter")
    tab.page.locator("#view").get_by_role("button", name="Next").focus()
    tab.press("Enter Enter")
    assert tab.page.inner_text("#view h2") == "#3"
    tab.page.locator("#view").get_by_role("button", name="Keep").focus()
    tab.press("Space Space")
    assert tab.page.inner_text("#view h2") == "#5"
    assert tab.page.locator("#view #said").count() == 1  # heard while the dialog is open
    tab.press("Escape")
    assert tab.page.locator("body > #said").count() == 1
    tab.check()


def test_keys_are_let_be_in_fields_and_with_modifiers(open_tab, stored):
    address, _ = stored(used=30, suspects=10, conflicts=0)
    tab = open_tab(address)
    tab.page.locator("#query").focus()
    tab.press("k x 2")
    tab.wait(lambda: "match" in tab.page.inner_text("#count"))
    tab.page.click("#reset")
    tab.page.locator(".card").first.focus()
    tab.press("Control+k Alt+x Meta+r")
    assert tab.progress == "0 of 10 decided"


def test_decisions_survive_a_reload_and_reach_other_tabs(open_tab, stored):
    address, _ = stored(used=30, suspects=10, conflicts=0)
    tab, other = open_tab(address), open_tab(address)
    tab.press("k r x")
    other.until("3 of 10")
    tab.page.reload()
    assert tab.progress == "3 of 10 decided: 1 keep, 1 relabel, 1 remove"
    tab.press("u u")
    assert tab.progress == "1 of 10 decided: 1 keep, 0 relabel, 0 remove"
    tab.check()
    other.check()


def test_a_saved_file_is_loaded_back(open_tab, stored, tmp_path):
    address, _ = stored(used=30, suspects=10, conflicts=0)
    tab = open_tab(address)
    tab.press("k r x 2")
    before = saved(tab, tmp_path)
    again = open_tab(address, fresh=True)
    assert again.progress == "0 of 10 decided"
    again.page.set_input_files("#file", tmp_path / "decisions.jsonl")
    again.page.wait_for_selector(".banner")
    assert "4 decisions read from decisions.jsonl, all new." in again.page.inner_text(".banner")
    assert saved(again, tmp_path) == before
    again.press("u")
    assert again.progress == "0 of 10 decided"
    again.check()


def test_lines_that_do_not_fit_are_told(open_tab, stored, tmp_path):
    address, report = stored(used=30, suspects=10, conflicts=0)
    row = report.suspects()[0]
    good = {"row": row["row"], "given_label": row["given_label"], "choice": "keep"}
    moved = {**good, "row": 999, "sha256": report.suspects()[1]["sha256"], "choice": "remove"}
    moved["given_label"] = report.suspects()[1]["given_label"]
    lines = [
        json.dumps(good),
        json.dumps({**good, "choice": "remove", "label": ""}),  # the last one holds
        json.dumps(moved),  # another row now, but the same image under the same label
        json.dumps({**good, "given_label": "other"}),
        json.dumps({**good, "choice": "maybe"}),
        json.dumps({**good, "choice": "relabel"}),
        "null",
        '{"row": 3, "cho',
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    tab = open_tab(address)
    tab.page.set_input_files("#file", tmp_path / "mine.jsonl")
    said = tab.page.inner_text(".banner")
    assert "2 decisions read from mine.jsonl" in said
    assert "1 line about images or labels that this page does not list" in said
    assert "4 lines that are no decisions" in said
    assert tab.progress == "2 of 10 decided: 0 keep, 0 relabel, 2 remove"
    tab.check()


@pytest.mark.parametrize("storage", ["full", "none"])
def test_storage_that_fails_is_said_and_the_page_asks_before_it_closes(open_tab, stored, storage):
    broken = {
        "full": "Storage.prototype.setItem = () => { throw new Error('full'); };",
        "none": "Object.defineProperty(window, 'localStorage', { get() { throw new Error('off'); } });",
    }[storage]
    tab = open_tab(stored(used=30, suspects=10, conflicts=0)[0], init=broken)
    asked = "!dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert tab.page.locator(".banner").count() == 0 and not tab.page.evaluate(asked)
    tab.press("k")
    assert "does not keep your decisions" in tab.page.inner_text(".banner")
    assert tab.progress.startswith("1 of 10") and tab.page.evaluate(asked)
    tab.check()


def test_filters(open_tab, stored):
    paths = [f"{'train' if i % 2 else 'test'}/x/{i:02d}.png" for i in range(33)]
    address, report = stored(used=30, suspects=12, conflicts=2, paths=paths)
    tab = open_tab(address, viewport={"width": 1300, "height": 3000})
    rows = report.suspects()

    def ranks(which):
        return [f"#{row['rank']}" for row in rows if which(row)]

    assert tab.ranks == ranks(lambda row: True)
    tab.page.get_by_role("button", name="given cat, looks like dog").click()
    assert tab.ranks == ranks(lambda row: (row["given_label"], row["suggested_label"]) == ("cat", "dog"))
    assert tab.page.inner_text("#count") == "4 of 14 match."
    tab.page.click("#reset")
    tab.page.select_option("#split", label="test (7)")
    assert tab.ranks == ranks(lambda row: row["path"].startswith("test/"))
    tab.page.click("#reset")
    tab.page.fill("#from", "0.75")
    tab.page.fill("#to", "0.9")
    assert tab.ranks == ranks(lambda row: 0.75 <= row["score"] <= 0.9)
    tab.page.click("#reset")
    tab.page.get_by_role("button", name="conflict 1").first.click()
    assert tab.ranks == ranks(lambda row: row["conflict"] == 1)
    tab.page.click("#reset")
    tab.page.fill("#query", "TRAIN dog")
    tab.wait(lambda: "match" in tab.page.inner_text("#count"))
    assert tab.ranks == ranks(
        lambda row: "train" in row["path"] and "dog" in f"{row['given_label']} {row['suggested_label']}"
    )
    tab.page.click("#reset")
    tab.page.select_option("#sort", "-score")
    by_score = sorted(rows, key=lambda row: row["score"])
    assert tab.ranks == [f"#{row['rank']}" for row in by_score]
    tab.check()


def test_the_histogram_filters_and_marks_the_cut(open_tab, stored):
    address, report = stored(used=30, suspects=12, conflicts=0, calibrated=calibration(cut=0.6))
    tab = open_tab(address, viewport={"width": 1300, "height": 3000})
    assert "cut at 0.600" in tab.page.inner_text("#histogram")
    box = tab.page.locator("#histogram svg").bounding_box()
    y = box["y"] + box["height"] / 2
    tab.page.mouse.move(box["x"] + box["width"] * 0.81, y)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] * 0.89, y)
    tab.page.mouse.up()
    assert (tab.page.input_value("#from"), tab.page.input_value("#to")) == ("0.8", "0.9")
    wanted = [row["rank"] for row in report.suspects() if 0.8 <= row["error_probability"] <= 0.9]
    assert tab.ranks == [f"#{rank}" for rank in wanted] and wanted
    assert tab.page.locator("#histogram .bin:not(.out)").count() == 4
    tab.check()


def test_ten_thousand_suspects(open_tab, stored):
    address, _ = stored(used=10_100, suspects=10_000, conflicts=0, embedded=30)
    tab = open_tab(address)
    most = 0
    for share in (0.1, 0.5, 0.99, 1):
        tab.page.locator("#cards").evaluate(
            "(n, share) => scrollTo(0, n.offsetTop + n.offsetHeight * share)", share
        )
        tab.page.wait_for_timeout(100)
        most = max(most, tab.page.locator(".card").count())
    assert 4 < most < 300
    last = tab.page.locator(".card").last
    assert last.locator(".rank").inner_text() == "#10,000"
    assert last.get_attribute("aria-posinset") == last.get_attribute("aria-setsize") == "10000"
    last.locator(".picture").click()
    tab.press("Escape x")
    assert tab.progress.startswith("1 of 10,000")
    assert tab.current == "#1"  # the next undecided one, from the start
    tab.press("p p j j")
    assert tab.current == "#3"
    box = tab.page.locator(".card.current").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 901
    assert tab.page.locator(".card").count() < 300
    assert tab.page.evaluate("document.activeElement.classList.contains('current')")
    tab.page.locator("#cards").evaluate("(node) => scrollTo(0, node.offsetTop + node.offsetHeight / 2)")
    card = tab.page.locator(".card").nth(12)
    tab.wait(lambda: int(card.locator(".rank").inner_text()[1:].replace(",", "")) > 4000)  # drawn by now
    card.focus()
    tab.page.set_viewport_size({"width": 700, "height": 800})
    tab.wait(lambda: 0 < tab.page.locator(".card.current").bounding_box()["y"] < 800)
    tab.check()


def test_tab_goes_through_the_current_card_alone(open_tab, stored):
    tab = open_tab(stored(used=30, suspects=10, conflicts=0)[0])
    tab.page.locator("#keys").focus()
    seen = []
    for _ in range(7):
        tab.press("Tab")
        seen.append(tab.page.evaluate("document.activeElement.closest('.card')?.dataset.index ?? 'out'"))
    assert seen == ["0"] * 6 + ["out"]  # the card, its picture, copy, and three choices
    tab.press("Shift+Tab")
    tab.press("ArrowRight ArrowDown ArrowUp")
    assert tab.page.evaluate("document.activeElement.dataset.index") == "1"


def test_on_paper_there_are_the_first_cards(open_tab, stored):
    tab = open_tab(stored(used=700, suspects=600, conflicts=0, embedded=3)[0])
    tab.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.page.locator(".card").count() == 500
    assert "The first 500 are printed." in tab.page.inner_text("#count")
    tab.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.page.locator(".card").count() < 100
    assert "printed" not in tab.page.inner_text("#count")


def test_further_pictures_come_from_beside_the_page(open_tab, stored):
    address, report = stored(used=30, suspects=10, conflicts=0, embedded=3, beside=99)
    tab = open_tab(address)
    loaded = "[...document.querySelectorAll('.card img')].every(img => img.complete && img.naturalWidth)"
    tab.wait(lambda: tab.page.evaluate(loaded))
    sources = tab.page.evaluate(
        "[...document.querySelectorAll('.picture img')].map(img => img.getAttribute('src'))"
    )
    row = report.suspects()[5]["row"]
    assert sources[0].startswith("data:image/webp") and sources[5] == f"report-images/{row}.webp"
    assert tab.page.locator(".card .none").count() == 0
    tab.check()
    assert all(url.startswith(("file:", "data:")) for url in tab.requests)


@pytest.mark.parametrize("width", [360, 2560])
def test_no_width_scrolls_sideways(open_tab, stored, width):
    long = ["x" * 400, "y" * 400, "a label of several words that goes on and on and on"]
    address, _ = stored(
        classes=long, used=30, suspects=10, conflicts=2, paths=["p" * 300 + f"{i}.png" for i in range(33)]
    )
    tab = open_tab(address, viewport={"width": width, "height": 800}, color_scheme="dark")
    for step in ("", "k r", "Enter", "Escape ?"):
        tab.press(step)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        for dialog in tab.page.locator("dialog[open]").all():
            assert dialog.evaluate("node => node.scrollWidth <= node.clientWidth")
    for body in tab.page.locator(".card .body").all():
        assert body.evaluate("node => node.scrollHeight <= node.clientHeight + 1")
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 18, 20)"
    tab.check()


@pytest.mark.parametrize("width", [320, 620, 1180])
def test_a_choice_fits_its_button(open_tab, stored, width):
    tab = open_tab(stored(used=30, suspects=10, conflicts=0)[0], viewport={"width": width, "height": 900})
    tab.page.locator(".card").first.focus()
    tab.press("x k")  # pressed ones are bold
    for choice in tab.page.locator(".choices button").all():
        assert choice.evaluate("""node => {
          const text = document.createRange();
          text.selectNodeContents(node);
          const [inner, outer] = [text, node].map((one) => one.getBoundingClientRect());
          return inner.left > outer.left + 2 && inner.right < outer.right - 2;
        }""")
    tab.check()


def test_where_the_system_sets_the_colours_bars_and_choices_are_seen(open_tab, stored):
    tab = open_tab(stored(used=30, suspects=10, conflicts=0)[0], forced_colors="active")
    tab.page.locator(".card").first.focus()
    tab.press("k")
    for which in (".bars .track i", ".card .choices .keep[aria-pressed=true]"):
        colours = tab.page.locator(which).first.evaluate(
            "node => [node, document.body].map((one) => getComputedStyle(one).backgroundColor)"
        )
        assert colours[0] != colours[1]


def test_a_page_of_labels_alone(open_tab, tmp_path):
    from dataclasses import replace

    import numpy as np
    from reports import make_report

    from labelscrub.reporting.html import report_html

    report = make_report()
    page = report_html(replace(report, sha256=np.zeros_like(report.sha256)), {})  # no details either
    (tmp_path / "report.html").write_bytes(page)
    tab = open_tab(Path(tmp_path / "report.html").as_uri())
    tab.press("j j 1 r Enter x Escape u")
    assert tab.progress == "1 of 7 decided: 0 keep, 1 relabel, 0 remove"
    assert tab.page.locator(".picture").first.inner_text() == "no picture"
    tab.check()


def test_nothing_suspect(open_tab, stored):
    tab = open_tab(stored(suspects=0, conflicts=0)[0])
    tab.press("j k ? Escape")
    assert "No suspects" in tab.page.inner_text("#empty")
    tab.check()
