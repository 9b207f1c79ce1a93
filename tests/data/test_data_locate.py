"""Paths of a manifest: what may be read, what is there, what is listed twice."""

import os

import pytest

from labelscrub.config import SourceSettings
from labelscrub.data import read_source
from labelscrub.errors import DataError, UsageError


@pytest.fixture
def read(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for name in ("1.jpg", "2.png", "sub/3.JPG", "noext", "twice.jpg", "twice.png", "a.b.jpg", "x.heic"):
        (root / name).write_bytes(b"x")

    def reader(*rows, **options):
        lines = [row if isinstance(row, tuple) else (row, "ab"[i % 2]) for i, row in enumerate(rows)]
        (root / "m.csv").write_text("path,label\n" + "".join(f'"{path}",{label}\n' for path, label in lines))
        return read_source(root / "m.csv", SourceSettings(**options))

    reader.root = root
    return reader


def kinds(manifest):
    return {item.row: (item.kind, item.reason) for item in manifest.skipped}


def test_ids_without_extension(read):
    manifest = read("1", "sub/3", "noext", "a.b", "twice", "2.png", "gone")
    assert list(manifest.files) == ["1.jpg", "sub/3.JPG", "noext", "a.b.jpg", "", "2.png", ""]
    assert manifest.paths[0] == "1"
    assert kinds(manifest) == {
        4: ("skipped", "more than one file with this id"),
        6: ("missing", "no such file"),
    }
    assert manifest.notes == ("images found by adding the extension that the manifest leaves out: 3",)


def test_image_root(read, tmp_path):
    manifest = read("3", "4", image_root=str(read.root / "sub"))
    assert manifest.root == read.root / "sub"
    assert list(manifest.files) == ["3.JPG", ""]


def test_what_is_no_image_file(read):
    os.mkfifo(read.root / "pipe.jpg")
    (read.root / "self.jpg").symlink_to("self.jpg")
    manifest = read("sub", "pipe.jpg", "self.jpg", "x.heic", "", "1.jpg/x.jpg", "y" * 300, " ")
    assert kinds(manifest) == {
        0: ("skipped", "a folder, not a file"),
        1: ("skipped", "not a regular file"),
        2: ("missing", "a link that leads to itself"),
        3: ("unreadable", "unsupported format HEIC"),
        4: ("skipped", "no path"),
        5: ("missing", "no such file"),
        6: ("missing", "the path is too long"),
        7: ("skipped", "no path"),
    }
    assert set(manifest.files) == {""}


OUTSIDE = [
    "/etc/hostname",
    "../x.jpg",
    "sub/../../x.jpg",
    "~/x.jpg",
    "C:\\x.jpg",
    "\\\\server\\x.jpg",
    "..\\x.jpg",
    "c:/x.jpg",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_that_leave_the_root_are_refused(read, path):
    with pytest.raises(DataError, match=r"row 1: .* leaves the image root") as caught:
        read("1.jpg", path)
    assert "--allow-outside" in caught.value.fix


def test_allow_outside(read, tmp_path):
    (tmp_path / "out.jpg").write_bytes(b"x")
    manifest = read(str(tmp_path / "out.jpg"), "../out.jpg", "~/nothing.jpg", allow_outside=True)
    assert list(manifest.files) == [str(tmp_path / "out.jpg"), "", ""]
    assert manifest.skipped[0].same_as == 0
    assert manifest.skipped[1].kind == "missing"


@pytest.mark.parametrize("path", ["s3://b/1.jpg", "file:///etc/hostname", "http://x/1.jpg"])
def test_remote_paths_are_a_usage_error(read, path):
    with pytest.raises(UsageError, match=r"row 1: .*remote paths are not supported"):
        read("1.jpg", path, allow_outside=True)


def test_harmless_dots_and_tildes(read):
    (read.root / "~1.jpg").write_bytes(b"x")
    (read.root / "a..b.jpg").write_bytes(b"x")
    (read.root / "12:30.jpg").write_bytes(b"x")
    manifest = read("~1.jpg", "a..b.jpg", "12:30.jpg", "sub//3.JPG")
    assert list(manifest.files) == ["~1.jpg", "a..b.jpg", "12:30.jpg", "sub/3.JPG"]


def test_backslashes(read):
    manifest = read("sub\\3.JPG", "1.jpg")
    assert list(manifest.files) == ["sub/3.JPG", "1.jpg"]
    assert manifest.notes == ("paths read with backslashes as folder separators: 1",)


def test_the_same_file_is_used_once(read):
    (read.root / "link.jpg").symlink_to("1.jpg")
    (read.root / "again").symlink_to("sub")
    os.link(read.root / "1.jpg", read.root / "hard.jpg")
    manifest = read(
        ("1.jpg", ""),
        ("1.jpg", "a"),
        ("./1.jpg", "b"),
        ("link.jpg", "a"),
        ("hard.jpg", "b"),
        ("sub/3.JPG", "a"),
        ("again/3.JPG", "a"),
    )
    assert kinds(manifest) == {
        0: ("skipped", "no label"),
        2: ("skipped", "same file as row 1, which says 'a'"),
        3: ("skipped", "same file as row 1"),
        6: ("skipped", "same file as row 5"),
    }
    assert [item.same_as for item in manifest.skipped] == [-1, 1, 1, 5]
    assert list(manifest.files) == ["", "1.jpg", "", "", "hard.jpg", "sub/3.JPG", ""]
    assert manifest.labels.tolist() == [-1, 0, 1, 0, 1, 0, 0]


def test_permission_denied_is_listed(read, monkeypatch):
    real = os.stat

    def refuse(path, **options):  # root may read everything, so permission is taken away by hand
        if str(path).endswith("2.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr("labelscrub.data.locate.os.stat", refuse)
    assert kinds(read("1.jpg", "2.png")) == {1: ("unreadable", "permission denied")}
