import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import calibration

from labelscrub.reporting.text import (
    calibrated_sentence,
    calibration_figures,
    error_share,
    inert,
    one_line,
    percent,
    printable,
    suspects_sentence,
    whole_percent,
)

NAN = float("nan")


@given(st.text(st.characters(codec=None)))
def test_printable_always_encodes_and_keeps_what_is_already_text(text):
    shown = printable(text)
    shown.encode()
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("caf\udce9", "caf\\xe9"), ("\ud800", "\\ud800"), ("a\nb", "a\nb"), ("naïve 猫", "naïve 猫")],
)
def test_printable_shows_undecodable_bytes_as_python_does(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("##[add-mask]a", r"#\x23[add-mask]a"),
        ("a ###[group]", r"a ##\x23[group]"),
        ("::add-mask::a", r"\x3a:add-mask::a"),
        ("  ::x::", r"  \x3a:x::"),
        ("std::vector #[1] ## [2]", "std::vector #[1] ## [2]"),
    ],
)
def test_one_line_is_no_command_of_githubs_runner(text, shown):
    """As actions/runner's ActionCommand.cs takes them: "##[" anywhere, "::" after white space alone."""
    assert one_line(text) == shown


@pytest.mark.parametrize("text", ["##[add-mask]a", "###[##[", "#[", "ä##["])
def test_inert_json_means_the_same(text):
    document = json.dumps({text: [text]}, ensure_ascii=False)
    assert "##[" not in inert(document) and json.loads(inert(document)) == {text: [text]}


@given(st.text(st.characters(codec=None)))
def test_one_line_sends_a_terminal_no_control_and_no_second_line(text):
    shown = one_line(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert "##[" not in shown and not shown.strip().startswith("::")
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2066" for c in shown)


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0 %"), (1e-9, "under 0.1 %"), (0.031, "3.1 %"), (0.2, "20 %"), (1.0, "100 %")],
)
def test_percent(share, shown):
    assert percent(share) == shown


def test_the_sentence_never_calls_an_unread_data_set_clean():
    assert suspects_sentence(312, 9998) == "labelscrub suspects 312 of 9,998 labels (3.1 %)."
    assert suspects_sentence(0, 10) == "labelscrub suspects none of 10 labels."
    assert "none of the listed images" in suspects_sentence(0, 0)


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0 %"),
        (0.005, "under 1 %"),
        (0.923, "92 %"),
        (0.9949, "99 %"),
        (0.995, "over 99 %"),
        (1.0, "100 %"),
    ],
)
def test_an_expected_share_is_whole_and_reads_none_or_all_only_where_it_is(share, shown):
    assert whole_percent(share) == shown


@pytest.mark.parametrize(
    ("probability", "shown"),
    [
        (0.0, "<1 %"),
        (0.005, "<1 %"),
        (0.006, "1 %"),
        (0.94, "94 %"),
        (0.995, ">99 %"),
        (1.0, ">99 %"),
        (NAN, "-"),
    ],
)
def test_no_image_is_certainly_wrong(probability, shown):
    assert error_share(probability) == shown


ABOUT = "about 1,930 (1,870 to 1,990) of 10,000 labels are wrong"
EMPTY = {"cut": NAN, "expected_precision": NAN, "expected_recall": NAN, "expected_f1": NAN}


@pytest.mark.parametrize(
    ("suspects", "figures", "sentence"),
    [
        (
            2003,
            {},
            f"{ABOUT}; the 2,003 listed are expected to hold 92 % of them, and 92 % of those listed to be "
            "wrong",
        ),
        (
            1700,
            {"aim": "precision=0.9", "expected_recall": 0.8, "expected_precision": 0.9},
            f"{ABOUT}; the 1,700 listed are expected to hold 80 % of them, and 90 % of those listed to be "
            "wrong (cut for precision 0.9)",
        ),
        (
            1,
            {"expected_recall": 0.0005, "expected_precision": 0.999},
            f"{ABOUT}; the one listed is expected to hold under 1 % of them, and is wrong with "
            "probability over 99 %",
        ),
        (0, {**EMPTY, "aim": "recall=0.95"}, f"{ABOUT}; none is listed (cut for recall 0.95)"),
        (3, EMPTY, f"{ABOUT}; the 3 listed are copies of images with another label"),
        (1, EMPTY, f"{ABOUT}; the one listed is a copy of an image with another label"),
        (
            0,
            {**EMPTY, "noise_rate": 0.0, "low": 0.0, "high": 0.0012},
            "none of 10,000 labels is expected to be wrong (0 to 12); none is listed",
        ),
        (
            2,
            {"noise_rate": 0.0, "low": 0.0, "high": 0.0, "expected_recall": NAN, "expected_precision": 0.0},
            "none of 10,000 labels is expected to be wrong (0 to 0); each of the 2 listed is wrong with "
            "probability 0 %",
        ),
        (
            2,
            {
                "noise_rate": 0.0001,
                "low": 0.0,
                "high": 0.02,
                "expected_recall": 0.5,
                "expected_precision": 0.25,
            },
            "about 1 (0 to 200) of 10,000 labels is wrong; the 2 listed are expected to hold 50 % of what is "
            "wrong, and 25 % of those listed to be wrong",
        ),
        (
            0,
            {**EMPTY, "images": 9_900, "noise_rate": 0.0301, "low": 0.01, "high": 0.05},
            "about 300 (100 to 500) of 9,900 assessed labels are wrong; none is listed",
        ),
        (
            0,
            {**EMPTY, "noise_rate": NAN, "low": NAN, "high": NAN},
            "how many of 10,000 labels are wrong is not known; none is listed",
        ),
        (
            0,
            {**EMPTY, "images": 1, "noise_rate": 0.9, "low": 0.6, "high": 1.0},
            "about 1 (1 to 1) of 1 assessed label is wrong; none is listed",
        ),
    ],
)
def test_the_sentence_of_a_calibrated_run(suspects, figures, sentence):
    assert calibrated_sentence(calibration(**figures), suspects, 10_000) == sentence


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted), st.integers(1, 10**7))
def test_rounded_figures_stay_in_order_and_close_to_the_exact_ones(shares, images):
    low, rate, high = shares
    exact = calibration(images=images, noise_rate=rate, low=low, high=high)
    sentence = calibrated_sentence(exact, 0, images)
    found = [int(n.replace(",", "")) for n in re.findall(r"[\d,]+(?= \(| to|\))", sentence.split(" of ")[0])]
    if exact.wrong:
        wrong, lower, upper = found
        assert wrong > 0 and lower <= wrong <= upper
        assert abs(wrong - exact.wrong) <= 0.05 * (exact.interval[1] - exact.interval[0])
    else:
        assert sentence.startswith("none of")


def test_the_page_begins_with_a_whole_sentence():
    assert suspects_sentence(0, 10_000, calibration(**EMPTY)) == f"A{ABOUT[1:]}; none is listed."
    assert "none of the listed images" in suspects_sentence(0, 0, calibration())


def test_an_aim_from_a_stored_run_stays_on_its_line():
    assert "\n" not in calibrated_sentence(calibration(aim="precision\n=0.9"), 1, 10_000)


def test_figures_leave_out_what_is_not_known():
    rate = "estimated noise rate 19.3 % (95 % interval 18.7 % to 19.9 %)"
    assert calibration_figures(calibration()) == f"{rate}; expected precision 92 %, recall 92 %, F1 92 %"
    assert calibration_figures(calibration(**EMPTY)) == rate
    unknown = calibration_figures(calibration(**EMPTY, noise_rate=NAN, low=NAN, high=NAN))
    assert unknown == "estimated noise rate not known (95 % interval not known)"
