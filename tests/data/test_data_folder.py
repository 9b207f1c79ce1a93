"""Image folders: what is a row, what is skipped, what is only noted."""

import os
import socket

import pytest

from labelscrub.config import SourceSettings
from labelscrub.data import read_source
from labelscrub.data.folder import list_folder
from labelscrub.errors import DataError, UsageError


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def read(root, **settings):
    return read_source(root, SourceSettings(**settings))


def reasons(manifest):
    return {item.path: (item.kind, item.reason) for item in manifest.skipped}


def label_of(manifest, path):
    return manifest.classes[manifest.labels[list(manifest.paths).index(path)]]


def test_classes_are_first_level_folders(tmp_path):
    manifest = read(make(tmp_path, "dog/1.png", "cat/sub/deep/2.JPG", "cat/a.b.jpeg"))
    assert manifest.classes == ("cat", "dog")
    assert list(manifest.paths) == ["cat/a.b.jpeg", "cat/sub/deep/2.JPG", "dog/1.png"]
    assert manifest.labels.tolist() == [0, 0, 1]
    assert manifest.kind == "folder"
    assert manifest.path_of(1) == tmp_path / "cat/sub/deep/2.JPG"
    assert not manifest.skipped and not manifest.notes


def test_other_files_are_rows_with_a_reason(tmp_path):
    manifest = read(
        make(
            tmp_path, "a/1.jpg", "b/1.jpg", "b/x.txt", "b/none", "b/p.PSD", "b/i.heic", "loose.jpg", "b/o.{}"
        )
    )
    assert reasons(manifest) == {
        "loose.jpg": ("skipped", "not in a class folder"),
        "b/i.heic": ("unreadable", "unsupported format HEIC"),
        "b/none": ("skipped", "not an image: no extension"),
        "b/o.{}": ("skipped", "not an image extension"),
        "b/p.PSD": ("unreadable", "unsupported format PSD"),
        "b/x.txt": ("skipped", "not an image extension (.txt)"),
    }
    assert len(manifest) == 8
    assert [bool(file) for file in manifest.files].count(True) == 2


def test_hidden_and_system_files_are_no_rows_but_one_note(tmp_path):
    names = (".DS_Store", "a/._1.jpg", "a/Thumbs.db", "__MACOSX/a/1.jpg", "b/.git/1.jpg")
    manifest = read(make(tmp_path, "a/1.jpg", "b/1.jpg", *names))
    assert len(manifest) == 2
    assert manifest.notes == ("hidden or system files ignored: 5",)


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_what_is_not_a_regular_file_is_never_opened(tmp_path, kind, monkeypatch):
    make(tmp_path, "a/1.jpg", "b/1.jpg")
    if kind == "fifo":
        os.mkfifo(tmp_path / "a" / "p.jpg")
    else:
        monkeypatch.chdir(tmp_path / "a")  # a socket's path has 108 bytes at most
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("p.jpg")
    assert reasons(read(tmp_path)) == {"a/p.jpg": ("skipped", "not a regular file")}


def test_links(tmp_path):
    make(tmp_path, "data/a/1.jpg", "data/b/1.jpg", "outside.jpg", "elsewhere/x.jpg")
    root = tmp_path / "data"
    (root / "a" / "broken.jpg").symlink_to("nowhere")
    (root / "a" / "self.jpg").symlink_to("self.jpg")
    (root / "a" / "out.jpg").symlink_to(tmp_path / "outside.jpg")
    (root / "a" / "loop").symlink_to(".")
    (root / "a" / "above").symlink_to(tmp_path)
    (root / "b" / "sibling").symlink_to(root / "a")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    manifest = read(root)
    assert list(manifest.paths) == [
        "a/1.jpg",
        "a/broken.jpg",
        "a/out.jpg",
        "a/self.jpg",
        "b/1.jpg",
        "c/x.jpg",
    ]
    assert reasons(manifest) == {
        "a/broken.jpg": ("missing", "broken link"),
        "a/self.jpg": ("missing", "a link that leads to itself"),
    }
    assert manifest.notes == (
        "links to folders that are read anyway, not followed: 'a/above', 'a/loop', 'b/sibling'",
    )


def test_link_into_a_hidden_store_is_followed(tmp_path):
    make(tmp_path, ".store/1/x.jpg", "b/1.jpg")
    (tmp_path / "a").symlink_to(".store/1")
    assert list(read(tmp_path).paths) == ["a/x.jpg", "b/1.jpg"]


def test_links_between_splits_are_followed_where_the_other_is_not_read(tmp_path):
    make(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg")
    (tmp_path / "val" / "dog").symlink_to("../train/dog")
    (tmp_path / "val" / "cat" / "above").symlink_to(tmp_path)
    manifest = read(tmp_path, split="val")
    assert list(manifest.paths) == ["val/cat/2.jpg", "val/dog/1.jpg"]
    assert manifest.classes == ("cat", "dog")
    assert manifest.notes == ("links to folders that are read anyway, not followed: 'val/cat/above'",)
    both = read(tmp_path, split="all")
    assert list(both.paths) == ["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg"]
    (tmp_path / "val").rename(tmp_path / "test")  # read before train, so train/dog is yet to come
    assert list(read(tmp_path, split="all").paths) == ["test/cat/2.jpg", "train/cat/1.jpg", "train/dog/1.jpg"]


def test_hard_links_are_rows_of_their_own(tmp_path):
    make(tmp_path, "a/1.jpg", "b/1.jpg")
    os.link(tmp_path / "a/1.jpg", tmp_path / "b/2.jpg")
    manifest = read(tmp_path)
    assert len(manifest) == 3 and not manifest.skipped


def test_unreadable_folder_is_listed(tmp_path, monkeypatch):
    make(tmp_path, "a/1.jpg", "b/1.jpg", "b/locked/2.jpg")

    def refuse(path, *args):  # root may read everything, so permission is taken away by hand
        if path.endswith("/locked/"):
            raise PermissionError(13, "Permission denied", path)
        return list_folder(path, *args)

    monkeypatch.setattr("labelscrub.data.folder.list_folder", refuse)
    assert reasons(read(tmp_path)) == {"b/locked": ("unreadable", "folder: permission denied")}


def test_empty_class_folder_is_a_note(tmp_path):
    make(tmp_path, "a/1.jpg", "b/1.jpg", "text/x.txt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.jpg").mkdir()
    manifest = read(tmp_path)
    assert manifest.classes == ("a", "b")
    assert manifest.notes == ("class folders without images: 'empty', 'text', 'x.jpg'",)
    assert manifest.labels.tolist() == [0, 1, -1]


def test_folders_named_like_columns(tmp_path):
    assert read(make(tmp_path, "label/1.jpg", "path/1.jpg")).classes == ("label", "path")


def test_names_that_are_not_utf8_or_hostile(tmp_path):
    odd = ["caf\udce9.jpg", "line\nbreak.jpg", "-rf.jpg", "=1+1.jpg", "[red].jpg", "\x1b[31m.jpg", "CON.jpg"]
    long = "x" * 251 + ".jpg"
    manifest = read(make(tmp_path, "b/1.jpg", *(f"a/{name}" for name in [*odd, long])))
    assert sorted(manifest.paths[:-1], key=os.fsencode) == list(manifest.paths[:-1])
    assert {f"a/{name}" for name in [*odd, long]} == set(manifest.paths[:-1])
    assert not manifest.skipped


def test_path_that_is_too_long_is_listed(tmp_path):
    make(tmp_path, "a/1.jpg", "b/1.jpg")
    parent = os.open(tmp_path / "a", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=parent)
        child = os.open("d" * 250, os.O_RDONLY, dir_fd=parent)
        os.close(parent)
        parent = child
    os.close(parent)
    manifest = read(tmp_path)
    (item,) = manifest.skipped
    assert (item.kind, item.reason) == ("unreadable", "folder: file name too long")


def test_twins_in_unicode_and_case_are_kept(tmp_path):
    manifest = read(make(tmp_path, "a/\xe9.jpg", "a/e\u0301.jpg", "b/A.jpg", "b/a.jpg"))
    assert len(manifest) == 4 and not manifest.skipped
    assert manifest.notes == (
        "files whose names differ only in their Unicode form, kept as two: 'a/e\\u0301.jpg'",
    )


def test_similar_class_names_are_noted_not_merged(tmp_path):
    manifest = read(make(tmp_path, "Cat/1.jpg", "cat/1.jpg", "cat\u200b/1.jpg"))
    assert len(manifest.classes) == 3
    assert manifest.notes[-1].endswith(r"kept apart: 'Cat' and 'cat'; 'cat' and 'cat\u200b'")


def test_splits_are_asked_about_and_never_classes(tmp_path):
    make(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "valid/b/2.jpg")
    with pytest.raises(UsageError, match="has splits: train, valid") as caught:
        read(tmp_path)
    assert "--split" in caught.value.fix
    assert list(read(tmp_path, split="train").paths) == ["train/a/1.jpg", "train/b/1.jpg"]
    assert list(read(tmp_path, split="val").paths) == ["valid/b/2.jpg"]
    both = read(tmp_path, split="all")
    assert both.labels.tolist() == [0, 1, 1] and both.classes == ("a", "b")
    with pytest.raises(UsageError, match="no split 'test'"):
        read(tmp_path, split="test")


def test_split_names_beside_others_are_classes_only_where_they_are_listed(tmp_path):
    """bad_inputs L07."""
    images = make(tmp_path / "images", "car/1.jpg", "train/1.jpg", "test/1.jpg")
    with pytest.raises(UsageError, match="test and train look like splits"):
        read(images)
    (tmp_path / "classes.txt").write_text("car\ntest\ntrain\n")
    listed = read(images, classes=str(tmp_path / "classes.txt"))
    assert listed.classes == ("car", "test", "train")
    (images / "test").rename(images / "bus")
    assert read(images).classes == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        ((), "no images found"),
        (("a/x.txt",), "no images found"),
        (("1.jpg", "labels.csv"), "no class folders"),
        (("images/a/1.jpg", "images/b/1.jpg"), "only one class folder"),
        (tuple(f"{i}/1.jpg" for i in range(30)), "look like ids"),
    ],
)
def test_folders_without_classes_are_refused(tmp_path, names, cause):
    with pytest.raises(DataError, match=cause) as caught:
        read(make(tmp_path, *names))
    assert caught.value.fix


def test_class_list(tmp_path):
    make(tmp_path, "data/a/1.jpg", "data/b/1.jpg")
    (tmp_path / "names.txt").write_text("c\nb\na\n")
    manifest = read(tmp_path / "data", classes=str(tmp_path / "names.txt"))
    assert manifest.classes == ("c", "b", "a") and manifest.labels.tolist() == [2, 1]
    (tmp_path / "names.txt").write_text("b\n")
    with pytest.raises(DataError, match="'a' is not in"):
        read(tmp_path / "data", classes=str(tmp_path / "names.txt"))


def test_a_class_list_says_that_classes_with_an_image_each_are_no_ids(tmp_path):
    names = [f"{i}" for i in range(30)]
    make(tmp_path, *(f"data/{name}/1.jpg" for name in names))
    with pytest.raises(DataError, match="look like ids") as caught:
        read(tmp_path / "data")
    assert "--classes" in caught.value.fix and "--label-column" not in caught.value.fix
    (tmp_path / "names.txt").write_text("\n".join(names))
    assert read(tmp_path / "data", classes=str(tmp_path / "names.txt")).classes == tuple(names)


def test_progress_is_sparse_and_ends_with_the_total(tmp_path):
    make(tmp_path, *(f"{c}/{i}.jpg" for c in "ab" for i in range(1500)))
    events = []
    read_source(tmp_path, SourceSettings(), events.append)
    assert (events[-1].stage, events[-1].done, events[-1].total) == ("scan", 3000, 3000)
    assert len(events) < 20
