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

from labelscrub.errors import DataError
from labelscrub.records import Details
from labelscrub.reporting import html, html_data
from labelscrub.reporting.html import report_html, served_page
from labelscrub.reporting.html_data import picture_rows
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


def with_details(report):
    """Five classes at most; the first image listed has no examples, the others the same two."""
    index = np.flatnonzero(report.findings.is_suspect | (report.findings.conflict > 0))
    k = len(report.manifest.classes)
    top = (np.arange(min(5, k)) + report.findings.suggested[index, None]) % k
    first = np.arange(len(index)) == 0
    return replace(
        report,
        details=Details(
            index=index,
            top=top.astype(np.int32),
            top_probs=np.linspace(0.9, 0.1, top.size).reshape(top.shape).astype(np.float32),
            suggested_prob=np.linspace(0.9, 0.5, len(index)).astype(np.float32),
            example_given=np.where(first, -1, 6),
            example_suggested=np.where(first, -1, 7),
        ),
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
    assert cards["sha256"] == [row["sha256"] for row in rows]
    assert data["pictures"] == {"14": base64.b64encode(b"webp").decode()}


def test_policy_admits_exactly_the_inlined_script_and_style():
    page = Page(report_html(make_report(), {}))
    hashes = {
        element: base64.b64encode(hashlib.sha256(page.raw[element].encode()).digest()).decode()
        for element in ("script", "style")
    }
    assert page.policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{hashes['style']}'",
        f"script-src 'sha256-{hashes['script']}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_pictures_beside_the_page_are_admitted_where_there_are_some():
    page = Page(report_html(make_report(), {}, beside=[5, 3]))
    assert "; img-src 'self' file: data:; " in page.policy
    assert page.island["beside"] == [3, 5]


def test_scripts_can_be_inlined_and_stay_readable():
    folder = pathlib.Path(html_data.__file__).parent
    scripts = sorted(folder.glob("report_*.js"))
    assert {f"report_{name}.js" for name in (*html.SCRIPTS, html.SERVED)} == {s.name for s in scripts}
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 400
        assert "</" not in text and "<!--" not in text  # would end or hide the script element


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


@pytest.mark.parametrize("title", ["</title><b>x</b>", '"><img src=x>', "{{ 7 * 7 }}{% raw %}", "a&amp;b"])
def test_a_hostile_source_is_text_in_the_title_and_above_the_headline(title):
    plain = Page(report_html(make_report(), {}))
    report = make_report()
    report = replace(report, manifest=replace(report.manifest, source=pathlib.Path("x") / title))
    source = pathlib.Path(title).name  # a "/" in it starts another folder
    for page in (report_html(report, {}), served_page(report_html(report, {}))):
        shown = Page(page)
        assert [tag for tag, _ in shown.elements] == [tag for tag, _ in plain.elements]
        assert f"{source} · labelscrub" in shown.text
        assert shown.text.count(source) == 2


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


def test_cards_and_skipped_rows_are_limited_and_said(monkeypatch):
    monkeypatch.setattr(html_data, "CARD_LIMIT", 4)
    monkeypatch.setattr(html_data, "SKIPPED_LIMIT", 1)
    data = Page(report_html(make_report(), dict.fromkeys(range(15), b"x"))).island
    assert len(data["suspects"]["rank"]) == 4
    assert data["suspects"]["total"] == 7
    assert list(data["pictures"]) == [str(row) for row in data["suspects"]["row"]]
    assert len(data["skipped"]) == 1
    assert data["skippedTotal"] == 3


def test_pictures_are_wanted_by_rank_each_followed_by_its_examples(monkeypatch):
    report = make_report()  # rows are indices + 3; ranked: the conflicts 10 and 11, then 0 to 4
    assert picture_rows(report) == [13, 14, 3, 4, 5, 6, 7]
    assert picture_rows(with_details(report)) == [13, 9, 10, 14, 3, 4, 5, 6, 7]
    monkeypatch.setattr(html_data, "PICTURED_RANKS", 3)
    assert picture_rows(with_details(report)) == [13, 9, 10, 14, 3]
    assert picture_rows(replace(report, sha256=np.zeros_like(report.sha256))) == []


def test_cards_carry_what_a_person_decides_by():
    report = with_details(make_report())
    cards = Page(report_html(report, {})).island["suspects"]
    details, rows = report.details, report.rows.tolist()
    for at, row in enumerate(cards["row"]):
        line = details.index.tolist().index(rows.index(row))
        assert cards["top"][at] == details.top[line].tolist()
        assert cards["topProbs"][at] == pytest.approx(details.top_probs[line], abs=1e-5)
        assert cards["suggestedProb"][at] == pytest.approx(details.suggested_prob[line], abs=1e-5)
        examples = (cards["exampleGiven"][at], cards["exampleSuggested"][at])
        assert examples == ((-1, -1) if line == 0 else (9, 10))


def test_labels_alone_have_no_digest():
    report = make_report()
    cards = Page(report_html(replace(report, sha256=np.zeros_like(report.sha256)), {})).island["suspects"]
    assert set(cards["sha256"]) == {""}


@pytest.mark.parametrize("calibrated", [None, calibration(cut=0.61)])
def test_histogram_counts_every_image_once(calibrated):
    report = make_report(calibrated=calibrated)
    f, shown = report.findings, Page(report_html(report, {})).island["histogram"]
    values = f.error_probability if calibrated else f.score
    for counts, chosen in ((shown["suspects"], f.is_suspect), (shown["rest"], ~f.is_suspect)):
        expected = [0] * 40
        for value in values[chosen]:
            if np.isfinite(value):
                expected[min(int(value * 40), 39)] += 1
        assert counts == expected
    assert (shown["cut"], shown["unknown"]) == ((0.61, 1) if calibrated else (None, 0))


def test_splits_of_a_folder_can_be_filtered():
    paths = [f"{split}/cat/{i}.png" for i, split in enumerate(["test", "Train", "val"] * 5)]
    cards = Page(report_html(make_report(paths=paths), {})).island["suspects"]
    assert cards["splits"] == ["Train", "val", "test"]
    assert [cards["splits"][k] for k in cards["split"]] == [path.split("/")[0] for path in cards["path"]]


@pytest.mark.parametrize("first", ["train", "cat", "train/val"])
def test_other_folders_are_no_splits(first):
    paths = [f"{first if i % 2 else 'train'}/x/{i}.png" for i in range(15)]
    if first == "train/val":
        paths = [path.replace("/x/", "/") for path in paths]
    cards = Page(report_html(make_report(paths=paths), {})).island["suspects"]
    assert (cards["splits"], cards["split"]) == ([], [])


def test_splits_of_a_table_are_only_paths():
    report = make_report(paths=[f"{'train' if i % 2 else 'test'}/cat/{i}.png" for i in range(15)])
    table = replace(report, manifest=replace(report.manifest, kind="csv"))
    assert Page(report_html(report, {})).island["suspects"]["splits"] == ["train", "test"]
    assert Page(report_html(table, {})).island["suspects"]["splits"] == []


def test_decisions_are_kept_under_the_data_and_the_findings():
    def key(**changes):
        return Page(report_html(make_report(**changes), {})).island["key"]

    assert key() == key() == key(provenance={"times": {"train": 9.0}})
    assert len({key(), key(suspects=4), key(provenance={"data": "other"})}) == 3


def test_a_served_page_is_the_stored_one_with_a_server():
    report = make_report(classes=HOSTILE[:9], paths=HOSTILE[:15])
    stored = report_html(report, {3: b"webp"})
    page, before = Page(served_page(stored, run="my run", report="one")), Page(stored)
    assert page.island == {**before.island, "served": True, "run": "my run", "report": "one"}
    assert "; img-src 'self' data:; " in page.policy and "; connect-src 'self'; " in page.policy
    assert "connect-src" not in before.policy
    assert page.elements[4:] == before.elements[4:]  # all but the policy
    assert "fetch(" in page.raw["script"]
    assert Page(served_page(served_page(stored))).island["served"] is True


def test_pages_that_are_not_ours_are_not_served():
    good = report_html(make_report(), {})
    for page in (
        b"",
        b"<html></html>",
        good.replace(b'id="data">{', b'id="data">{{'),
        good.replace(b'"format":2', b'"format":1'),
        good.replace(b'"headline":', b'"xheadline":'),
        good[: good.index(b'"classes"')],
        b'<script type="application/json" id="data">' + b"[" * 100_000 + b"</script>",
        b'<script type="application/json" id="data">"\xff"</script>',
        b'<script type="application/json" id="data">[]</script>',
    ):
        with pytest.raises(DataError, match=r"report\.html") as caught:
            served_page(page)
        assert "detect" in caught.value.fix


def test_same_bytes_again_without_times_or_places():
    first = make_report(
        provenance={"versions": {"torch": "2"}, "times": {"train": 1.0}, "source": "/home/me/x"}
    )
    second = make_report(provenance={"versions": {"torch": "2"}, "times": {"train": 9.0}, "source": "/mnt/y"})
    assert report_html(first, {}) == report_html(second, {})
    assert Page(report_html(first, {})).island["provenance"] == [["versions torch", "2"]]
    settings = {"image_root": "/home/me/images", "classes": "/home/me/classes.txt", "folds": 5}
    assert Page(report_html(make_report(settings=settings), {})).island["settings"] == [["folds", "5"]]


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
