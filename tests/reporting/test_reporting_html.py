import base64
import hashlib
import json
import pathlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import HOSTILE, calibration, make_report

from labelscrub.reporting import html
from labelscrub.reporting.html import report_html
from labelscrub.reporting.text import printable


class Page(HTMLParser):
    """What a browser's parser makes of the page: its elements, and the raw text of script and style."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self._inside = ""
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self._inside = {"script": attributes.get("id") or "script", "style": "style"}.get(tag, "")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside:
            self.raw[self._inside] = self.raw.get(self._inside, "") + data
        else:
            self.text += data

    @property
    def island(self):
        return json.loads(self.raw["data"], parse_constant=pytest.fail)

    @property
    def policy(self) -> str:
        return next(
            a["content"] for _, a in self.elements if a.get("http-equiv") == "Content-Security-Policy"
        )


def test_island_holds_the_ranked_list():
    report = make_report()
    data = Page(report_html(report, {14: b"webp"})).island
    cards, rows = data["suspects"], report.suspects()
    assert cards["rank"] == [row["rank"] for row in rows]
    assert cards["path"] == [row["path"] for row in rows]
    assert [data["classes"][k] for k in cards["given"]] == [row["given_label"] for row in rows]
    assert [data["classes"][k] for k in cards["suggested"]] == [row["suggested_label"] for row in rows]
    assert cards["score"] == pytest.approx([row["score"] for row in rows], abs=1e-5)
    assert cards["conflict"] == [1, 1, 0, 0, 0, 0, 0]
    assert (cards["suspects"], cards["total"]) == (5, 7)
    assert cards["picture"][cards["row"].index(14)] == base64.b64encode(b"webp").decode()
    assert cards["picture"].count("") == 6


def test_policy_admits_exactly_the_inlined_script_and_style():
    page = Page(report_html(make_report(), {}))
    for element in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[element].encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none';")
    assert "unsafe" not in page.policy


def test_page_asks_for_nothing_from_outside():
    data = report_html(make_report(), {})
    page = Page(data)
    links = [a[name] for _, a in page.elements for name in ("src", "href", "action", "srcset") if name in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "url(" not in page.raw["style"]
    assert "@import" not in page.raw["style"]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|fetch\(", page.raw["script"]
    )
    assert dict(page.elements)["html"]["lang"] == "en"


def test_page_opens_with_the_verdict():
    page = Page(report_html(make_report(), {}))
    assert "labelscrub suspects 5 of 12 labels (41.7\N{NO-BREAK SPACE}%)." in page.text
    assert page.island["figures"][-1] == [
        "15",
        "images listed",
        "= 12 used + 1 unreadable + 1 missing + 1 skipped",
    ]


def test_hostile_names_add_no_element_and_come_back_as_they_are():
    plain = [tag for tag, _ in Page(report_html(make_report(), {})).elements]
    report = make_report(classes=HOSTILE[:9], paths=HOSTILE[:15])
    page = Page(report_html(report, {}))
    assert [tag for tag, _ in page.elements] == plain
    assert page.island["classes"] == [printable(name) for name in HOSTILE[:9]]
    assert not set("<>&\u2028\u2029") & set(page.raw["data"])


@given(
    name=st.text(st.characters(codec=None), max_size=30),
    title=st.text(st.characters(codec=None), max_size=30),
)
def test_any_name_comes_back(name, title):
    report = make_report(
        classes=(name, "x" + name), paths=[name] * 3, used=2, suspects=1, conflicts=0, skipped=1
    )
    report = replace(report, manifest=replace(report.manifest, source=pathlib.Path(title)))
    page = Page(report_html(report, {}))
    assert page.island["classes"][0] == printable(name)
    assert page.island["suspects"]["path"] == [printable(name)]
    assert page.island["skipped"][0][1] == printable(name)


def test_no_suspects():
    page = Page(report_html(make_report(suspects=0, conflicts=0, skipped=0), {}))
    assert "labelscrub suspects none of 12 labels." in page.text
    assert page.island["suspects"]["rank"] == []
    assert page.island["skippedTotal"] == 0


def test_pictures_and_cards_and_skipped_rows_are_limited_and_said(monkeypatch):
    monkeypatch.setattr(html, "THUMBNAIL_LIMIT", 2)
    monkeypatch.setattr(html, "CARD_LIMIT", 4)
    monkeypatch.setattr(html, "SKIPPED_LIMIT", 1)
    report = make_report()
    data = Page(report_html(report, dict.fromkeys(range(15), b"x"))).island
    assert data["suspects"]["picture"] == [base64.b64encode(b"x").decode()] * 2
    assert data["suspects"]["pictureLimit"] == 2
    assert len(data["suspects"]["rank"]) == 4
    assert data["suspects"]["total"] == 7
    assert len(data["skipped"]) == 1
    assert data["skippedTotal"] == 3


def test_same_bytes_again_without_times_or_places():
    first = make_report(
        provenance={"versions": {"torch": "2"}, "times": {"train": 1.0}, "source": "/home/me/x"}
    )
    second = make_report(provenance={"versions": {"torch": "2"}, "times": {"train": 9.0}, "source": "/mnt/y"})
    assert report_html(first, {}) == report_html(second, {})
    assert Page(report_html(first, {})).island["provenance"] == [["versions torch", "2"]]


def test_settings_that_are_unset_are_left_out():
    assert Page(report_html(make_report(), {})).island["settings"] == [["loss", "pz"], ["folds", "5"]]


def test_a_calibrated_page_says_how_many_are_wrong_and_how_sure():
    page = Page(report_html(make_report(calibrated=calibration(aim="recall=0.95")), {}))
    text = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "About 1,930 (1,870 to 1,990) of 10,000 assessed labels are wrong; the 5 listed are expected" in text
    )
    figures = {what: (value, detail) for value, what, detail in page.island["figures"]}
    told = {k: tuple(t.replace("\N{NO-BREAK SPACE}", " ") for t in v) for k, v in figures.items()}
    assert told["estimated noise rate"] == ("12.5 %", "95 % interval 18.7 % to 19.9 %")
    assert told["expected F1 of the suspects"] == ("92 %", "precision 92 %, recall 92 %; cut for recall 0.95")


def test_a_calibrated_page_that_lists_nothing():
    unknown = dict.fromkeys(("cut", "expected_precision", "expected_recall", "expected_f1"), float("nan"))
    data = Page(
        report_html(make_report(suspects=0, conflicts=0, calibrated=calibration(**unknown)), {})
    ).island
    assert [
        "not known",
        "expected F1 of the suspects",
        "nothing is above the cut; cut for the highest F1",
    ] in (data["figures"])


def test_cards_carry_error_probabilities_only_where_there_are_any():
    report = make_report(calibrated=calibration())
    cards = Page(report_html(report, {})).island["suspects"]
    expected = [row["error_probability"] for row in report.suspects()]
    assert cards["error"] == pytest.approx([None if np.isnan(e) else e for e in expected], abs=1e-5)
    assert cards["error"].count(None) == 1
    plain = Page(report_html(make_report(), {})).island
    assert (plain["calibrated"], plain["suspects"]["error"], plain["transition"]) == (
        False,
        [],
        {"matrix": []},
    )


def test_a_small_transition_matrix_is_shown_whole():
    data = Page(report_html(make_report(calibrated=calibration()), {})).island
    assert data["transition"] == {"matrix": [[0.9, 0.1, 0.0], [0.25, 0.75, 0.0], None]}


@pytest.mark.parametrize("k", [20, 21])
def test_of_a_large_transition_matrix_the_largest_cells_are_shown(k):
    rows = np.eye(k)
    for true in range(12):  # class i is given as class i + 1 in (i + 1) % of the cases
        rows[true, true], rows[true, true + 1] = 1 - (true + 1) / 100, (true + 1) / 100
    rows[15] = np.nan
    exact = calibration(transition=tuple(map(tuple, rows.tolist())))
    report = make_report(classes=[f"class {i}" for i in range(k)], used=2 * k, calibrated=exact)
    shown = Page(report_html(report, {})).island["transition"]
    if k == 20:
        assert len(shown["matrix"]) == k and shown["matrix"][15] is None
    else:
        assert shown == {"largest": [[i, i + 1, (i + 1) / 100] for i in range(11, 1, -1)]}


def test_fewer_cells_than_ten_are_not_filled_up_with_zeros():
    rows = np.eye(30)
    rows[3, 3], rows[3, 7] = 0.6, 0.4
    exact = calibration(transition=tuple(map(tuple, rows.tolist())))
    report = make_report(classes=[f"class {i}" for i in range(30)], used=60, calibrated=exact)
    assert Page(report_html(report, {})).island["transition"] == {"largest": [[3, 7, 0.4]]}
