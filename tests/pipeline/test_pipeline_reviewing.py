"""A finished run opened for a review: what it shows, what it refuses, what it does without."""

from __future__ import annotations

import asyncio
import builtins
import io
import json
import os
import re
import shutil
import socket

import httpx
import numpy as np
import pytest
from PIL import Image
from review_runs import finished_run

import labelscrub
from labelscrub import curation, data, pipeline
from labelscrub.config import SourceSettings
from labelscrub.curation.decisions import read_decisions
from labelscrub.errors import DataError, EnvironmentProblem, UsageError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, finished_run(folder)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the data and its run that a test may change, and the wrong rows; the source has moved."""
    shutil.copytree(finished[0], tmp_path / "data")
    return tmp_path / "data", finished[1]


@pytest.fixture
def opened():
    """Opens a review; its socket is closed at the end."""
    servers = []

    def open_review(*arguments, **options):
        servers.append(pipeline.review(*arguments, **options))
        return servers[-1]

    yield open_review
    for server in servers:
        server.listener.close()


def ask(server, *requests):
    """Come in with the printed address and make requests, (method, path, json); their answers."""

    async def visit():
        here = server.url.partition("/?")[0]
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url=here, headers={"origin": here}) as browser:
            assert (await browser.get(server.url)).status_code == 303
            return [await browser.request(method, path, json=said) for method, path, said in requests]

    return asyncio.run(visit())


def get(server, path):
    return ask(server, ("GET", path, None))[0]


def news():
    events = []
    return events, lambda event: events.append(event.message) if event.message else None


def test_the_whole_of_it(copied, opened):
    folder, wrong = copied
    server = opened(folder / "run", source=folder / "labels.csv")
    page, thumbnail, image, made, told = ask(
        server,
        ("GET", "/", None),
        ("GET", f"/thumbnail/{wrong[0]}.webp", None),
        ("GET", f"/image/{wrong[0]}.webp", None),
        ("POST", "/decisions", {"row": wrong[0], "choice": "relabel", "label": "left"}),
        ("GET", "/decisions?since=0", None),
    )
    assert b"dark-000.png" in page.content
    original = Image.open(folder / labels_path(folder, wrong[0])).convert("RGB")
    assert np.array_equal(Image.open(io.BytesIO(image.content)).convert("RGB"), original)
    assert Image.open(io.BytesIO(thumbnail.content)).format == "WEBP"
    assert made.json() == {"count": 1}
    assert told.json()["decisions"] == [{"row": wrong[0], "choice": "relabel", "label": "left"}]
    (decision,) = read_decisions(folder / "run" / "decisions.jsonl")
    assert decision.path == labels_path(folder, wrong[0])


def labels_path(folder, row):
    return (folder / "labels.csv").read_text().splitlines()[1 + row].split(",")[1]


def test_decisions_are_there_again(copied, opened):
    folder, wrong = copied
    keep = {"row": wrong[1], "choice": "keep"}
    ask(opened(folder / "run", source=folder / "labels.csv"), ("POST", "/decisions", keep))
    again = opened(folder / "run", source=folder / "labels.csv")
    assert get(again, "/decisions").json() == {"count": 1, "decisions": [{**keep, "label": ""}]}


def test_a_tab_of_an_earlier_run_decides_nothing_in_the_next(copied, opened):
    """The address is the same, and row 10 may be another image by then."""
    folder, wrong = copied
    shown = re.search(
        rb'"report":"(\w+)"', get(opened(folder / "run", source=folder / "labels.csv"), "/").content
    )
    said = {"row": wrong[0], "choice": "remove", "report": shown[1].decode()}
    lines = (folder / "labels.csv").read_text().splitlines(keepends=True)
    (folder / "labels.csv").write_text("".join([lines[0], *lines[2:]]))
    np.save(folder / "probs.npy", np.load(folder / "probs.npy")[1:])
    shutil.rmtree(folder / "run")
    labelscrub.detect(folder / "labels.csv", pred_probs=folder / "probs.npy", out=folder / "run", workers=0)
    later = opened(folder / "run")
    answers = ask(later, ("POST", "/decisions", said), ("GET", f"/decisions?report={said['report']}", None))
    assert [answer.status_code for answer in answers] == [409, 409]
    assert not (folder / "run" / "decisions.jsonl").exists()


def test_the_next_server_is_found_at_the_same_address(copied, opened):
    """But where the port is taken: then at another."""
    folder, _ = copied
    first = opened(folder / "run")
    place = first.listener.getsockname()
    first.listener.close()
    again = opened(folder / "run")
    assert again.listener.getsockname() == place
    assert again.url != first.url
    assert opened(folder / "run").listener.getsockname() != place


def test_two_servers_agree(copied, opened):
    folder, wrong = copied
    one, two = (opened(folder / "run", source=folder / "labels.csv") for _ in range(2))
    assert one.url != two.url
    for server, row, count in ((one, wrong[0], 1), (two, wrong[1], 2), (one, wrong[2], 3)):
        (made,) = ask(server, ("POST", "/decisions", {"row": row, "choice": "remove"}))
        assert made.json() == {"count": count}
    assert get(one, "/decisions?since=1").json() == get(two, "/decisions?since=1").json()


def test_a_row_that_is_not_listed_can_not_be_decided_on(copied, opened):
    folder, wrong = copied
    fine = next(row for row in range(36) if row not in wrong)
    (answer,) = ask(opened(folder / "run"), ("POST", "/decisions", {"row": fine, "choice": "keep"}))
    assert answer.status_code == 400


def test_examples_have_pictures_too(copied, opened):
    """Of images that are used but not listed."""
    folder, wrong = copied
    fine = next(row for row in range(36) if row not in wrong)
    server = opened(folder / "run", source=folder / "labels.csv")
    assert get(server, f"/thumbnail/{fine}.webp").status_code == 200
    assert get(server, "/thumbnail/36.webp").status_code == 404


def test_the_page_opens_where_the_data_is_gone(copied, opened, finished):
    folder, wrong = copied
    shutil.move(finished[0] / "labels.csv", finished[0] / "away.csv")
    messages, progress = news()
    try:
        server = opened(folder / "run", progress=progress)
    finally:
        shutil.move(finished[0] / "away.csv", finished[0] / "labels.csv")
    assert any("--source" in message for message in messages)
    page, image, made = ask(
        server,
        ("GET", "/", None),
        ("GET", f"/image/{wrong[0]}.webp", None),
        ("POST", "/decisions", {"row": wrong[0], "choice": "keep"}),
    )
    assert (page.status_code, image.status_code, made.status_code) == (200, 404, 200)


def test_a_source_that_is_named_must_be_there(copied):
    folder, _ = copied
    with pytest.raises(UsageError, match="no such file"):
        pipeline.review(folder / "run", source=folder / "nowhere.csv")


def test_moved_rows_show_no_wrong_pictures(copied, opened):
    """A row was put in front since: what was row 5 is another image now."""
    folder, wrong = copied
    lines = (folder / "labels.csv").read_bytes().splitlines(keepends=True)
    (folder / "labels.csv").write_bytes(b"".join([lines[0], lines[-1], *lines[1:]]))
    messages, progress = news()
    server = opened(folder / "run", source=folder / "labels.csv", progress=progress)
    assert any("not as the run saw them" in message for message in messages)
    assert get(server, f"/image/{wrong[0]}.webp").status_code == 404


def test_a_changed_image_is_not_shown(copied, opened):
    folder, wrong = copied
    path = folder / labels_path(folder, wrong[0])
    Image.new("L", (10, 10)).save(path)
    server = opened(folder / "run", source=folder / "labels.csv")
    assert get(server, f"/image/{wrong[0]}.webp").status_code == 404
    assert get(server, f"/image/{wrong[1]}.webp").status_code == 200


def test_labels_alone_have_no_pictures(tmp_path, opened):
    probs = np.full((40, 2), 0.05)
    probs[np.arange(40), np.arange(40) % 2] = 0.95
    labels = np.arange(40) % 2
    labels[[3, 8]] = 1 - labels[[3, 8]]
    np.save(tmp_path / "p.npy", probs)
    np.save(tmp_path / "y.npy", labels)
    labelscrub.detect(None, pred_probs=tmp_path / "p.npy", labels=tmp_path / "y.npy", out=tmp_path / "run")
    server = opened(tmp_path / "run")
    page, image, made, told = ask(
        server,
        ("GET", "/", None),
        ("GET", "/image/3.webp", None),
        ("POST", "/decisions", {"row": 3, "choice": "relabel", "label": "1"}),
        ("GET", "/decisions", None),
    )
    assert (page.status_code, image.status_code, made.status_code) == (200, 404, 200)
    assert told.json()["decisions"] == [{"row": 3, "choice": "relabel", "label": "1"}]


def test_every_label_that_the_page_offers_can_be_given(tmp_path, opened):
    """Class names of strangers, one of them no UTF-8: what the page sends is what the server knows."""
    names = [b"caf\xe9", b"<img src=x onerror=alert(1)>", b"=cmd|' C'!A0", "\u202egnp".encode(), b"new\nline"]
    for number, name in enumerate(names):
        folder = tmp_path / "images" / os.fsdecode(name)
        folder.mkdir(parents=True)
        for copy in range(8):
            Image.fromarray(np.full((6, 6), 40 * number + copy, np.uint8)).save(folder / f"{copy}.png")
    manifest = data.read_source(tmp_path / "images", SourceSettings())
    probs = np.full((40, 5), 0.02)
    probs[np.arange(40), manifest.labels] = 0.92
    probs[3] = np.roll(probs[3], 1)
    np.save(tmp_path / "p.npy", probs)
    labelscrub.detect(tmp_path / "images", pred_probs=tmp_path / "p.npy", out=tmp_path / "run", workers=0)
    server = opened(tmp_path / "run")
    page = get(server, "/").text
    island = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    labels = json.loads(island[1])["classes"]
    assert len(set(labels)) == 5
    said = [{"row": 3, "choice": "relabel", "label": label} for label in labels]
    assert {answer.status_code for answer in ask(server, *(("POST", "/decisions", one) for one in said))} == {
        200
    }
    assert get(server, "/decisions").json() == {"count": 5, "decisions": said[-1:]}
    table = curation.read_report(tmp_path / "run" / "report.parquet")
    settled = curation.settle(read_decisions(tmp_path / "run" / "decisions.jsonl"), table)
    assert [(d.row, d.label) for d in settled.decisions] == [(3, labels[-1])]


def test_there_must_be_a_finished_run(tmp_path):
    with pytest.raises(UsageError, match="no run"):
        pipeline.review(tmp_path)


@pytest.mark.parametrize("name", ["report.html", "report.parquet"])
def test_edited_results_are_refused(copied, name):
    folder, _ = copied
    with (folder / "run" / name).open("ab") as file:
        file.write(b"\n")
    with pytest.raises((UsageError, DataError), match=name):
        pipeline.review(folder / "run")


def test_a_missing_page_is_said(copied):
    folder, _ = copied
    (folder / "run" / "report.html").unlink()
    with pytest.raises(UsageError, match=r"report\.html"):
        pipeline.review(folder / "run")


def test_a_damaged_journal_is_named_by_line(copied):
    folder, _ = copied
    (folder / "run" / "decisions.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"decisions\.jsonl, line 1"):
        pipeline.review(folder / "run")


def test_a_torn_entry_is_said(copied, opened):
    folder, _ = copied
    (folder / "run" / "decisions.jsonl").write_text('{"row": 5, "pa')
    messages, progress = news()
    opened(folder / "run", progress=progress)
    assert any("half-written" in message for message in messages)


def test_a_port_in_use_is_said(copied):
    folder, _ = copied
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=f"port {port}.*in use"):
            pipeline.review(folder / "run", port=port)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_how_to_get_it(copied, monkeypatch, package):
    import sys

    folder, _ = copied
    for module in [m for m in sys.modules if m.split(".")[0] == package or "curation.serv" in m]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(labelscrub.curation, "server", raising=False)
    monkeypatch.delattr(labelscrub.curation, "serving", raising=False)
    real = builtins.__import__

    def without(name, *arguments, **more):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentProblem, match=package) as caught:
        pipeline.review(folder / "run")
    assert "pip install 'labelscrub[review]'" in caught.value.fix


def test_it_listens_on_this_machine_alone(copied, opened):
    server = opened(copied[0] / "run")
    assert server.listener.getsockname()[0] == "127.0.0.1"
    assert server.url.startswith(f"http://127.0.0.1:{server.listener.getsockname()[1]}/?token=")
    assert len(server.url.partition("token=")[2]) >= 43  # 256 bits
    assert server.single_url != server.url
