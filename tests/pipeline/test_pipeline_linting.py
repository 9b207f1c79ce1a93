"""Lint: every row that is not as it should be, once, for what detect would say of it; nothing written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import picture

from labelscrub.config import SourceSettings
from labelscrub.data import image_shape, load_images, read_source
from labelscrub.errors import DataError, UsageError
from labelscrub.pipeline.linting import FAIL_ON, KINDS, lint

ROWS = [
    ("a.png", "cat", None),
    ("b.png", "dog", None),
    ("c.png", "dog", None),
    ("gone.png", "cat", ("missing", "no such file")),
    ("cut.png", "dog", ("unreadable", "truncated")),
    ("a-copy.png", "dog", ("conflict", "labelled 'dog', but row 0 is the same image labelled 'cat'")),
    ("b-copy.png", "dog", None),
    ("./c.png", "dog", ("repeated", "same file as row 2")),
    ("d.png", "cat", ("conflict", "labelled 'cat', but row 9 is the same image labelled 'dog'")),
    ("d.png", "dog", ("conflict", "labelled 'dog', but row 8 is the same image labelled 'cat'")),
    ("e.png", "", ("no-label", "no label")),
    ("", "cat", ("skipped", "no path")),
]
EXPECTED = {row: problem for row, (_, _, problem) in enumerate(ROWS) if problem} | {
    0: ("conflict", "labelled 'cat', but row 5 is the same image labelled 'dog'")
}


def write_images(folder):
    for seed, name in enumerate("abcde"):
        picture("left", seed).save(folder / f"{name}.png")
    for name in "ab":
        shutil.copy(folder / f"{name}.png", folder / f"{name}-copy.png")
    (folder / "cut.png").write_bytes((folder / "b.png").read_bytes()[:60])


def write_manifest(folder, kind):
    write_images(folder)
    path = folder / f"labels.{kind}"
    if kind in ("csv", "tsv"):
        separator = "," if kind == "csv" else "\t"
        lines = [f"path{separator}label", *(f"{name}{separator}{label}" for name, label, _ in ROWS)]
        path.write_text("\n".join(lines) + "\n")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"path": name, "label": label}) + "\n" for name, label, _ in ROWS))
    else:
        columns = {"path": [row[0] for row in ROWS], "label": [row[1] for row in ROWS]}
        pq.write_table(pa.table(columns), path)
    return path


def told(found):
    return {problem.row: (problem.kind, problem.reason) for problem in found.problems}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_manifests(tmp_path, kind, workers):
    source = write_manifest(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    found = lint(source, workers=workers)
    assert told(found) == EXPECTED
    assert [problem.row for problem in found.problems] == sorted(EXPECTED)
    assert {problem.path for problem in found.problems} == {ROWS[row][0] for row in EXPECTED}
    assert {problem.table for problem in found.problems} == {str(source)}
    assert (found.listed, found.fine, found.kind) == (12, 3, kind)
    assert found.listed == found.fine + sum(found.counts.values())
    assert found.counts == Counter(kind for kind, _ in EXPECTED.values())
    assert not found.passed and found.failures == 6
    assert sorted(tmp_path.rglob("*")) == before


def test_a_text_manifest_says_lines(tmp_path):
    found = lint(write_manifest(tmp_path, "csv"), workers=0)
    assert [problem.line for problem in found.problems] == [row + 2 for row in sorted(EXPECTED)]


def test_a_folder(tmp_path):
    (tmp_path / "images").mkdir()
    write_images(tmp_path / "images")
    source = tmp_path / "source"
    for place in ("cat/a", "cat/b", "dog/a-copy", "dog/cut", "dog/c"):
        target = source / f"{place}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "images" / f"{target.stem}.png", target)
    (source / "dog" / "link.png").symlink_to("nowhere.png")
    (source / "cat" / "notes.txt").write_text("x")
    (source / "cat" / "photo.heic").write_bytes(b"x")
    shutil.copy(source / "cat" / "b.png", source / "loose.png")
    found = lint(source, workers=0)
    by_path = {problem.path: (problem.kind, problem.reason) for problem in found.problems}
    assert by_path == {
        "cat/a.png": ("conflict", "labelled 'cat', but dog/a-copy.png is the same image labelled 'dog'"),
        "dog/a-copy.png": ("conflict", "labelled 'dog', but cat/a.png is the same image labelled 'cat'"),
        "dog/cut.png": ("unreadable", "truncated"),
        "dog/link.png": ("missing", "broken link"),
        "cat/notes.txt": ("skipped", by_path["cat/notes.txt"][1]),
        "cat/photo.heic": ("unreadable", by_path["cat/photo.heic"][1]),
        "loose.png": ("skipped", "not in a class folder"),
    }
    assert {problem.table for problem in found.problems} == {""}
    assert (found.listed, found.fine) == (9, 2)


def test_images_embedded_in_parquet(tmp_path):
    write_images(tmp_path)
    names = ["a.png", "b.png", "a-copy.png", "cut.png", "c.png"]
    cells = [{"bytes": (tmp_path / name).read_bytes(), "path": name} for name in names]
    cells += [{"bytes": None, "path": "gone.png"}, None]
    table = {"image": cells, "label": ["cat", "dog", "dog", "cat", None, "cat", "dog"]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    found = lint(tmp_path / "t.parquet", workers=0)
    assert {row: kind for row, (kind, _) in told(found).items()} == {
        0: "conflict",
        2: "conflict",
        3: "unreadable",
        4: "no-label",
        5: "missing",
        6: "skipped",
    }


def test_three_labels_of_one_image_each_name_another(tmp_path):
    picture("left", 0).save(tmp_path / "a.png")
    (tmp_path / "l.csv").write_text("path,label\na.png,x\na.png,y\na.png,z\na.png,x\n")
    found = lint(tmp_path / "l.csv", workers=0)
    assert [problem.reason for problem in found.problems] == [
        "labelled 'x', but row 1 is the same image labelled 'y'",
        "labelled 'y', but row 0 is the same image labelled 'x'",
        "labelled 'z', but row 0 is the same image labelled 'x'",
        "labelled 'x', but row 1 is the same image labelled 'y'",
    ]


@pytest.mark.parametrize("seed", range(8))
def test_random_copies_against_a_slow_twin(tmp_path, seed):
    """Row by row and pair by pair, as one would say what each kind means."""
    rng = np.random.default_rng(seed)
    content = {}
    for number in range(12):
        name = f"{number}.png"
        shown = rng.integers(5)
        picture("left", shown).save(tmp_path / name)
        content[name] = shown
        if shown == 0:
            (tmp_path / name).write_bytes(b"broken")
    rows = [(f"{rng.integers(12)}.png", "xyz"[rng.choice(3, p=[0.8, 0.1, 0.1])]) for _ in range(25)]
    (tmp_path / "l.csv").write_text("".join(f"{a},{b}\n" for a, b in [("path", "label"), *rows]))
    expected = {}
    for row, (name, label) in enumerate(rows):
        first = next(other for other, (path, _) in enumerate(rows) if path == name)
        copies = [other for other, (path, _) in enumerate(rows) if content[path] == content[name]]
        if content[name] == 0:
            expected[row] = "unreadable" if row == first else "repeated"
        elif any(rows[other][1] != label for other in copies):
            expected[row] = "conflict"
        elif row != first:
            expected[row] = "repeated"
    found = lint(tmp_path / "l.csv", workers=0)
    assert {row: kind for row, (kind, _) in told(found).items()} == expected
    for row, (kind, reason) in told(found).items():
        if kind == "conflict":
            twin = int(reason.split("but row ")[1].split(" ")[0])
            assert content[rows[twin][0]] == content[rows[row][0]]
            assert reason.startswith(f"labelled '{rows[row][1]}'") and reason.endswith(f"'{rows[twin][1]}'")
            assert rows[twin][1] != rows[row][1]


def test_a_broken_file_listed_twice_is_unreadable_and_repeated(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    picture("left", 0).save(tmp_path / "a.png")
    (tmp_path / "l.csv").write_text("path,label\ncut.png,x\ncut.png,y\na.png,x\n")
    assert {row: kind for row, (kind, _) in told(lint(tmp_path / "l.csv", workers=0)).items()} == {
        0: "unreadable",
        1: "repeated",
    }


def odd_images(folder):
    """Images of many kinds, half of them broken; the twin of `detect` says which."""
    rng = np.random.default_rng(7)
    folder.mkdir()
    for index in range(60):
        form = ("png", "jpg", "gif", "webp", "bmp", "tiff")[index % 6]
        path = folder / f"{index:02d}.{form}"
        picture("left", index, side=24).convert("RGB").save(path)
        data = bytearray(path.read_bytes())
        if index % 4 == 1:
            data = data[: len(data) // 2]
        if index % 4 == 2:
            for place in rng.integers(0, len(data), 8):
                data[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_is_what_detect_can_not_read(tmp_path, workers):
    odd_images(tmp_path / "images")
    lines = [f"images/{path.name},{path.suffix}" for path in sorted((tmp_path / "images").iterdir())]
    (tmp_path / "l.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    settings = SourceSettings()
    manifest = read_source(tmp_path / "l.csv", settings)
    shape = image_shape(manifest, settings, None)
    images = load_images(manifest, shape, settings, cache_dir=tmp_path / "cache", workers=0)
    found = lint(tmp_path / "l.csv", workers=workers)
    expected = {item.row: (item.kind, item.reason) for item in images.skipped}
    assert {row: problem for row, problem in told(found).items() if problem[0] != "conflict"} == expected
    assert 10 < len(expected) < 50


def test_no_threshold_hides_the_list(tmp_path):
    (tmp_path / "l.csv").write_text("path,label\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(50)))
    found = lint(tmp_path / "l.csv", workers=0, settings=SourceSettings(max_missing=0.0, max_unreadable=0.0))
    assert found.counts["missing"] == found.listed == 50
    assert found.fine == 0 and not found.passed
    assert found.notes == (f"paths are looked for in {tmp_path}: set --image-root if that is wrong",)


def test_source_settings_hold(tmp_path):
    write_images(tmp_path)
    (tmp_path / "l.csv").write_text("file;kind;label\na.png;x;1\nb.png;y;2\n")
    settings = SourceSettings(delimiter=";", label_column="kind", max_pixels=50)
    assert told(lint(tmp_path / "l.csv", workers=0, settings=settings)) == {
        0: ("unreadable", "10x10 pixels exceeds --max-pixels"),
        1: ("unreadable", "10x10 pixels exceeds --max-pixels"),
    }


@pytest.mark.parametrize(
    ("fail_on", "failures"), [(FAIL_ON, 6), (["missing"], 1), (["conflict", "repeated"], 5), (KINDS, 9)]
)
def test_only_the_kinds_asked_for_fail(tmp_path, fail_on, failures):
    found = lint(write_manifest(tmp_path, "csv"), fail_on=fail_on, workers=0)
    assert found.failures == failures and not found.passed
    assert told(found) == EXPECTED


def test_what_can_not_be_judged_is_an_error_and_never_a_pass(tmp_path):
    write_images(tmp_path)
    (tmp_path / "l.csv").write_text("path,label\na.png,\nb.png,\n")
    with pytest.raises(DataError, match=r"none of the 2 rows .* has an image and a label: 2 no label"):
        lint(tmp_path / "l.csv", workers=0)
    assert not lint(tmp_path / "l.csv", workers=0, fail_on=["no-label"]).passed
    (tmp_path / "empty.csv").write_text("path,label\n")
    (tmp_path / "nothing").mkdir()
    for source in ("empty.csv", "nothing"):
        with pytest.raises(DataError):
            lint(tmp_path / source, workers=0)


def test_arguments_that_make_no_sense(tmp_path):
    source = write_manifest(tmp_path, "csv")
    with pytest.raises(UsageError, match=r"no kind of problem 'conflicts'\ndid you mean 'conflict'"):
        lint(source, fail_on=["conflicts"], workers=0)
    with pytest.raises(UsageError, match="everything would pass"):
        lint(source, fail_on=[], workers=0)
    with pytest.raises(UsageError, match="empty"):
        lint("", workers=0)
    with pytest.raises(UsageError, match="no such file"):
        lint(tmp_path / "nowhere.csv", workers=0)


def test_lint_loads_no_torch(tmp_path):
    code = (
        "import sys; from labelscrub.pipeline.linting import lint; lint(sys.argv[1], workers=0); "
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    source = write_manifest(tmp_path, "csv")
    done = subprocess.run(
        [sys.executable, "-c", code, source], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["False", "True"]
