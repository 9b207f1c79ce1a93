import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelscrub.reporting.text import one_line, percent, printable, suspects_sentence


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


@given(st.text(st.characters(codec=None)))
def test_one_line_sends_a_terminal_no_control_and_no_second_line(text):
    shown = one_line(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
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
