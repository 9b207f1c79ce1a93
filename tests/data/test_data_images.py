"""labelscrub.data.images: every image decoded once, nothing lost, nothing stale, nothing rotten trusted."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelscrub.config import SourceSettings
from labelscrub.data import filling, pixel_store, tasks, workers
from labelscrub.data.decoding import decode
from labelscrub.data.images import ImageShape, hash_images, image_shape, load_images, usable_rows
from labelscrub.errors import EnvironmentProblem
from labelscrub.records import Event, Images, Manifest, Skipped

SETTINGS = SourceSettings()
SHAPE = ImageShape(8, 3)


def encode(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def noise(seed: int, side: int = 8, mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return encode(Image.fromarray(pixels).convert(mode))


def make(folder: Path, contents: dict[str, bytes]) -> Manifest:
    """Files on disk and the manifest that lists them in this order."""
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return listing(folder, list(contents))


def listing(folder: Path, names: list[str], skipped: tuple[Skipped, ...] = ()) -> Manifest:
    labels = np.zeros(len(names), np.int32)
    return Manifest(folder, "folder", folder, ("a", "b"), names, names, labels, skipped)


@pytest.fixture
def images_folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files decoded in this process, as they are decoded; hashing alone does not count."""
    names: list[str] = []
    original = tasks.carry_out

    def spy(task: tasks.Task, job: tasks.Job) -> tasks.Outcome:
        outcome = original(task, job)
        if outcome.pixels or outcome.kind:
            names.append(Path(task.path).name)
        return outcome

    monkeypatch.setattr(workers, "carry_out", spy)
    return names


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the images had been there for long."""
    monkeypatch.setattr(filling, "SETTLING_NS", -(10**12))


def load(manifest: Manifest, cache: Path, shape: ImageShape = SHAPE, count: int = 0, **options) -> Images:
    settings = SourceSettings(**options)
    return load_images(manifest, shape, settings, cache_dir=cache, workers=count)


def check(images: Images, manifest: Manifest, shape: ImageShape = SHAPE) -> None:
    """The slow twin: every row decoded or skipped, each as `decode` has it, hashes of the bytes on disk."""
    assert images.pixels.shape == (len(images.rows), shape.size, shape.size, shape.channels)
    assert images.pixels.dtype == np.uint8 and not images.pixels.flags.writeable
    assert (np.diff(images.rows) > 0).all()
    skipped = [s.row for s in images.skipped]
    assert sorted([*images.rows.tolist(), *skipped]) == usable_rows(manifest).tolist()
    for row, pixels, digest in zip(images.rows, images.pixels, images.sha256, strict=True):
        data = manifest.path_of(int(row)).read_bytes()
        np.testing.assert_array_equal(pixels, decode(data, shape.size, shape.channels, 10**8))
        assert digest.tobytes() == hashlib.sha256(data).digest()


# The shape


@pytest.mark.parametrize(("side", "expected"), [(3, 8), (28, 28), (64, 64), (65, 64), (300, 64)])
def test_the_size_is_the_median_longest_side_within_bounds(
    images_folder: Path, side: int, expected: int
) -> None:
    wide = [encode(Image.new("RGB", (side, max(1, side - 2)))) for _ in range(3)]
    manifest = make(
        images_folder, {f"{i}.png": data for i, data in enumerate([*wide, noise(0, 5), noise(0, 900)])}
    )
    assert image_shape(manifest, SETTINGS, None) == ImageShape(expected, 3)
    assert image_shape(manifest, SETTINGS, 200) == ImageShape(200, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_grey_needs_every_image_looked_at_to_be_grey(images_folder: Path, mode: str) -> None:
    image = Image.fromarray(np.zeros((9, 9), np.uint16)) if mode == "I;16" else Image.new(mode, (9, 9))
    manifest = make(images_folder, {f"{i}.png": encode(image) for i in range(3)})
    assert image_shape(manifest, SETTINGS, None) == ImageShape(9, 1)
    manifest = make(images_folder, {"0.png": encode(image), "1.png": noise(0, 9)})
    assert image_shape(manifest, SETTINGS, None).channels == 3


def test_the_shape_ignores_what_cannot_be_read_and_what_was_skipped(images_folder: Path) -> None:
    manifest = make(images_folder, {"a.png": noise(0, 20, "L"), "b.png": b"junk", "c.png": noise(0, 60)})
    os.mkfifo(images_folder / "d.png")
    skipped = (Skipped(2, "c.png", "skipped", "no label"),)
    names = [*manifest.paths, "d.png", "gone.png"]
    assert image_shape(listing(images_folder, names, skipped), SETTINGS, None) == ImageShape(20, 1)
    assert image_shape(listing(images_folder, ["b.png"]), SETTINGS, None) == ImageShape(64, 3)
    assert image_shape(listing(images_folder, []), SETTINGS, 32) == ImageShape(32, 3)


def test_the_shape_looks_at_a_bounded_even_sample(
    images_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelscrub.data.images.SAMPLE", 3)
    grey, colour = noise(0, 8, "L"), noise(0, 8)
    contents = {f"{i}.png": grey if i in (0, 5, 10) else colour for i in range(11)}
    assert image_shape(make(images_folder, contents), SETTINGS, None).channels == 1


# Loading


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_usable_row_is_decoded_or_skipped(
    images_folder: Path, tmp_path: Path, count: int, channels: int
) -> None:
    contents = {f"{i:03}.png": b"<html>" if i % 7 == 3 else noise(i, 5 + i % 9) for i in range(100)}
    manifest = make(images_folder, contents)
    manifest = listing(images_folder, [*contents], (Skipped(4, "004.png", "skipped", "no label"),))
    shape = ImageShape(6, channels)
    images = load(manifest, tmp_path / "cache", shape, count)
    check(images, manifest, shape)
    assert isinstance(images.pixels, np.memmap)
    assert {s.reason for s in images.skipped} == {"not an image (looks like HTML)"}
    assert [s.path for s in images.skipped] == [f"{i:03}.png" for i in range(3, 100, 7)]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_usable_is_an_empty_result(images_folder: Path, tmp_path: Path, count: int) -> None:
    for contents in ({}, {"a.jpg": b""}):
        manifest = make(images_folder, contents)
        for _ in range(2):
            images = load(manifest, tmp_path / "cache", count=count)
            check(images, manifest)
            assert images.pixels.shape == (0, 8, 8, 3)


def test_each_kind_of_bad_file_has_its_kind_and_reason(images_folder: Path, tmp_path: Path) -> None:
    manifest = make(images_folder, {"good.png": noise(0), "empty.jpg": b"", "cut.png": noise(1)[:60]})
    (images_folder / "folder.jpg").mkdir()
    os.mkfifo(images_folder / "pipe.jpg")
    (images_folder / "broken.jpg").symlink_to("nowhere")
    (images_folder / "loop.jpg").symlink_to("loop.jpg")
    (images_folder / "link.png").symlink_to("good.png")
    with (images_folder / "sparse.bmp").open("wb") as stream:
        stream.truncate(10 << 30)
    names = [*manifest.paths, "folder.jpg", "pipe.jpg", "broken.jpg", "loop.jpg", "link.png", "sparse.bmp"]
    names += ["nul\0.jpg", "x" * 300 + ".jpg", "good.png/x.jpg", os.fsdecode(b"caf\xe9.png")]
    (images_folder / os.fsdecode(b"caf\xe9.png")).write_bytes(noise(2))
    for count in (0, 1):
        images = load(listing(images_folder, names), tmp_path / f"cache{count}", count=count)
        assert [names[row] for row in images.rows] == ["good.png", "link.png", names[-1]]
        assert {s.path: (s.kind, s.reason) for s in images.skipped} == {
            "empty.jpg": ("unreadable", "empty file"),
            "cut.png": ("unreadable", "truncated"),
            "folder.jpg": ("skipped", "not a regular file"),
            "pipe.jpg": ("skipped", "not a regular file"),
            "broken.jpg": ("missing", "no longer there"),
            "loop.jpg": ("missing", "symbolic link leads in a circle"),
            "sparse.bmp": ("unreadable", "10240 MB exceeds --max-file-mb"),
            "nul\0.jpg": ("missing", "not a file name this system can have"),
            "x" * 300 + ".jpg": ("unreadable", "read error (file name too long)"),
            "good.png/x.jpg": ("missing", "no longer there"),
        }


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.EACCES, "permission denied"), (errno.EIO, "read error (input/output error)")],
)
def test_f15_e04_a_refused_read_is_unreadable_and_tried_again(
    images_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settled: None,
    code: int,
    reason: str,
) -> None:
    manifest = make(images_folder, {"a.png": noise(0), "b.png": noise(1)})

    def refuse(path: str, *arguments: int) -> int:
        if str(path).endswith("b.png"):
            raise OSError(code, os.strerror(code))
        return original(path, *arguments)

    original = os.open
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)  # root may read all, so the refusal is played
        images = load(manifest, tmp_path / "cache")
    assert [(s.row, s.kind, s.reason) for s in images.skipped] == [(1, "unreadable", reason)]
    check(load(manifest, tmp_path / "cache"), manifest)
    assert len(load(manifest, tmp_path / "cache").rows) == 2


def test_f16_a_file_that_keeps_changing_is_not_used(
    images_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make(images_folder, {"a.png": noise(0)})
    numbers = iter(range(100))
    monkeypatch.setattr(tasks, "stat_of", lambda status: (status.st_size, next(numbers), 0, 0))
    assert [s.reason for s in load(manifest, tmp_path / "cache").skipped] == ["changed during the run"]


def test_limits_come_from_the_settings(images_folder: Path, tmp_path: Path) -> None:
    manifest = make(
        images_folder, {"a.png": noise(0, 20), "b.bmp": encode(Image.new("RGB", (700, 700)), "BMP")}
    )
    images = load(manifest, tmp_path / "cache", max_pixels=399, max_file_mb=1)
    reasons = ["20x20 pixels exceeds --max-pixels", "2 MB exceeds --max-file-mb"]
    assert [s.reason for s in images.skipped] == reasons
    assert len(load(manifest, tmp_path / "cache", max_pixels=10**6, max_file_mb=2).rows) == 2


def test_notes_count_what_was_done_also_in_a_second_run(images_folder: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    contents = {
        "a.jpg": noise(0),
        "b.JPG": noise(1),
        "c.gif": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "d.png": encode(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8))),
        "e.jpg": b"version https://git-lfs.github.com/spec/v1\n",
        "f.jpg": b"version https://git-lfs.github.com/spec/v1\nx",
    }
    manifest = make(images_folder, contents)
    expected = (
        "2 Git LFS pointers, run git lfs pull",
        "2 files whose extension does not match their content",
        "1 animation or multi-page image: first frame used",
        "1 16-bit image scaled to 8 bit",
    )
    for _ in range(2):
        assert load(manifest, tmp_path / "cache").notes == expected
    grey = load(manifest, tmp_path / "cache", ImageShape(8, 1))
    assert grey.notes == (*expected, "3 colour images read as grey")


def test_notes_name_classes_that_lost_every_image_and_count_exact_copies(
    images_folder: Path, tmp_path: Path
) -> None:
    """bad_inputs B06 and F14."""
    contents = {"a.png": noise(0), "b.png": noise(0), "c.png": noise(0), "d.png": b"", "e.png": b""}
    manifest = replace(
        make(images_folder, contents),
        classes=("cat", "dog", "unseen"),
        labels=np.array([0, 0, 0, 1, 1], np.int32),
    )
    assert load(manifest, tmp_path / "cache").notes == (
        "2 images are exact copies of others",
        "classes without a usable image: 'dog'",
    )


def test_progress_is_plain_and_at_most_twenty_a_second(images_folder: Path, tmp_path: Path) -> None:
    manifest = make(images_folder, {f"{i}.png": noise(i, 4) for i in range(200)})
    events: list[Event] = []
    load_images(manifest, SHAPE, SETTINGS, cache_dir=tmp_path / "cache", workers=0, progress=events.append)
    assert {(e.stage, e.unit, e.total) for e in events} == {("decode", "images", 200)}
    assert [e.done for e in events] == sorted(e.done for e in events) and events[-1].done == 200
    assert events[0].images_per_second > 0 and len(events) < 15


# The second run


@pytest.mark.usefixtures("settled")
def test_a_second_run_decodes_only_what_changed(
    images_folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    contents = {f"{i}.png": noise(i) for i in range(6)} | {"bad.png": b"junk"}
    manifest, cache = make(images_folder, contents), tmp_path / "cache"
    first = load(manifest, cache)
    assert len(decoded) == 7
    decoded.clear()
    stamp = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    second = load(manifest, cache)
    assert decoded == []
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == stamp, "nothing is written either"
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert second.skipped == first.skipped

    (images_folder / "1.png").write_bytes(noise(100))
    (images_folder / "2.png").unlink()
    (images_folder / "bad.png").write_bytes(noise(101))
    manifest = make(images_folder, {"0a.png": noise(7)})
    manifest = listing(images_folder, ["0.png", "0a.png", *[f"{i}.png" for i in range(1, 6)], "bad.png"])
    third = load(manifest, cache)
    assert sorted(decoded) == ["0a.png", "1.png", "2.png", "bad.png"]
    check(third, manifest)
    assert [s.kind for s in third.skipped] == ["missing"]
    decoded.clear()

    manifest = listing(images_folder, ["5.png", "bad.png", "0.png"])  # fewer rows, in another order
    check(load(manifest, cache), manifest)
    assert decoded == []
    assert sorted(path.suffix for path in cache.iterdir()) == [".index", ".npy"], "no old pixels are left"


@pytest.mark.usefixtures("settled")
def test_f27_the_same_size_and_mtime_do_not_hide_a_change(images_folder: Path, tmp_path: Path) -> None:
    flat = {"a.bmp": encode(Image.new("RGB", (8, 8), "red"), "BMP")}
    manifest = make(images_folder, flat)
    path = images_folder / "a.bmp"
    os.utime(path, ns=(0, 0))
    load(manifest, tmp_path / "cache")
    path.write_bytes(encode(Image.new("RGB", (8, 8), "blue"), "BMP"))
    os.utime(path, ns=(0, 0))
    check(load(manifest, tmp_path / "cache"), manifest)


def test_young_files_are_hashed_again_but_not_decoded(
    images_folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    manifest = make(images_folder, {"a.png": noise(0), "b.png": noise(1), "bad.png": b""})
    load(manifest, tmp_path / "cache")
    decoded.clear()
    check(load(manifest, tmp_path / "cache"), manifest)
    assert decoded == ["bad.png"], "what failed is tried again, it is cheap"


@pytest.mark.usefixtures("settled")
def test_copied_files_with_the_same_bytes_are_not_decoded(
    images_folder: Path, tmp_path: Path, decoded: list[str]
) -> None:
    contents = {"a.png": noise(0), "b.png": noise(1)}
    load(make(images_folder, contents), tmp_path / "cache")
    shutil.rmtree(images_folder)
    manifest = make(images_folder, contents)
    decoded.clear()
    check(load(manifest, tmp_path / "cache"), manifest)
    assert decoded == []


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("what", ["pixels", "pixels cut", "index", "index cut", "pixels gone", "index empty"])
def test_e20_a_damaged_store_is_decoded_again_and_told(
    images_folder: Path, tmp_path: Path, decoded: list[str], what: str
) -> None:
    manifest, cache = make(images_folder, {f"{i}.png": noise(i) for i in range(4)}), tmp_path / "cache"
    load(manifest, cache)
    (path,) = cache.glob("*.npy" if what.startswith("pixels") else "*.index")
    data = bytearray(path.read_bytes())
    if what.endswith("gone"):
        path.unlink()
    else:
        data[len(data) // 2] ^= 1  # one rotten bit
        path.write_bytes(data[:-9] if what.endswith("cut") else b"" if what.endswith("empty") else data)
    decoded.clear()
    images = load(manifest, cache)
    check(images, manifest)
    assert len(decoded) == 4
    assert images.notes[0] == "the stored pixels were damaged: all images were decoded again"
    assert load(manifest, cache).notes == ()


@pytest.mark.usefixtures("settled")
def test_the_stored_pixels_are_read_again_only_where_their_stat_changed(
    images_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    """Not noticed: a byte that the disk itself lost, or that someone changed within the same tick of the file
    system's clock as the store was put in its place: the stat is the same then."""
    manifest, cache = make(images_folder, {f"{i}.png": noise(i) for i in range(4)}), tmp_path / "cache"
    load(manifest, cache)
    (path,) = cache.glob("*.npy")
    read: list[str] = []
    original = hashlib.file_digest

    def spy(stream, name: str):
        read.append(stream.name)
        return original(stream, name)

    monkeypatch.setattr(pixel_store.hashlib, "file_digest", spy)
    decoded.clear()
    check(load(manifest, cache), manifest)
    assert read == [] and decoded == []

    before = path.stat()
    os.utime(path, ns=(0, 0))  # touched, or copied from elsewhere
    check(load(manifest, cache), manifest)
    assert read == [str(path)] and decoded == []

    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    images = load(manifest, cache)
    check(images, manifest)
    assert images.notes == ("the stored pixels were damaged: all images were decoded again",)


@pytest.mark.usefixtures("settled")
def test_a_clock_of_whole_seconds_proves_nothing(
    images_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same size, seconds and inode, but other bytes: as on a file system whose clock ticks seldom."""
    monkeypatch.setattr(pixel_store, "stat_of", lambda status: (status.st_size, 0, 10**18, 1))
    manifest, cache = make(images_folder, {"a.png": noise(0)}), tmp_path / "cache"
    load(manifest, cache)
    (path,) = cache.glob("*.npy")
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    images = load(manifest, cache)
    check(images, manifest)
    assert images.notes == ("the stored pixels were damaged: all images were decoded again",)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("count", [0, 2])
def test_what_is_new_touched_gone_broken_and_kept_meet_in_one_filling(
    images_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(filling, "FEWEST_IMAGES", 3)
    monkeypatch.setattr(filling, "BATCH_IMAGES", 3)
    contents = {f"{i:02}.png": noise(i) if i % 5 else b"junk" for i in range(40)}
    cache = tmp_path / "cache"
    load(make(images_folder, contents), cache, count=count)
    for i in (1, 2, 3, 11, 20):  # the same bytes in a new file
        (images_folder / f"{i:02}.png").unlink()
        (images_folder / f"{i:02}.png").write_bytes(contents[f"{i:02}.png"])
    (images_folder / "04.png").unlink()
    for i in (7, 8, 10, 30):
        (images_folder / f"{i:02}.png").write_bytes(noise(100 + i))
    (images_folder / "12.png").write_bytes(b"")
    make(images_folder, {"05b.png": noise(200), "39b.png": noise(201)})
    names = sorted({*contents, "05b.png", "39b.png"} - {"09.png"})
    manifest = listing(images_folder, names)
    images = load(manifest, cache, count=count)
    check(images, manifest)
    broken = [i for i in range(0, 40, 5) if i not in (10, 30)]
    assert {item.path: item.reason for item in images.skipped} == {
        **{f"{i:02}.png": "not an image (looks like text)" for i in broken},
        "04.png": "no longer there",
        "12.png": "empty file",
    }


@pytest.mark.usefixtures("settled")
def test_another_shape_or_source_has_another_store(images_folder: Path, tmp_path: Path) -> None:
    manifest, cache = make(images_folder, {"a.png": noise(0)}), tmp_path / "cache"
    other = make(tmp_path / "other", {"a.png": noise(9)})
    for _ in range(2):
        for shape in (SHAPE, ImageShape(8, 1), ImageShape(5, 3)):
            check(load(manifest, cache, shape), manifest, shape)
            check(load(other, cache, shape), other, shape)
    assert len(list(cache.glob("*.index"))) == 6


def test_pixels_stay_when_another_run_replaces_the_store(images_folder: Path, tmp_path: Path) -> None:
    manifest = make(images_folder, {"a.png": noise(0)})
    images = load(manifest, tmp_path / "cache")
    before = images.pixels.copy()
    (images_folder / "a.png").write_bytes(noise(1))
    load(manifest, tmp_path / "cache")
    np.testing.assert_array_equal(images.pixels, before)


# The disk


def test_e01_a_full_disk_is_an_environment_problem(
    images_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, cache = make(images_folder, {"a.png": noise(0)}), tmp_path / "cache"
    load(manifest, cache)
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    (images_folder / "a.png").write_bytes(noise(1))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("posix_fallocate", "pwrite", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full, raising=False)
            with pytest.raises(EnvironmentProblem, match="no space left") as caught:
                load(manifest, cache)
        assert str(cache) in caught.value.cause
        assert {path.name: path.read_bytes() for path in cache.iterdir()} == before, "the old store is whole"
    check(load(manifest, cache), manifest)


def test_a_file_system_that_cannot_reserve_space_will_do(
    images_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    monkeypatch.setattr(pixel_store.fcntl, "flock", unsupported)
    manifest = make(images_folder, {"a.png": noise(0)})
    check(load(manifest, tmp_path / "cache"), manifest)


def test_e02_a_cache_that_cannot_be_made_is_an_environment_problem(
    images_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match=r"file/cache.*not a directory"):
        load(make(images_folder, {"a.png": noise(0)}), tmp_path / "file" / "cache")


def test_what_a_killed_run_left_is_removed_but_not_what_another_writes(
    images_folder: Path, tmp_path: Path
) -> None:
    manifest, cache = make(images_folder, {"a.png": noise(0)}), tmp_path / "cache"
    cache.mkdir()
    (cache / f"images-{'0a' * 8}.1.0123abcd.tmp").write_bytes(b"half")
    # the user's own, and an index that another run may be writing
    foreign = {"x.tmp", "images-1.tmp", "images-of-cats.1.0123abcd.tmp", f"images-{'0a' * 8}.index.1.tmp"}
    for name in foreign:
        (cache / name).write_bytes(b"kept")
    with pixel_store.Writer(cache, f"images-{'1b' * 8}", 1, 10) as other:
        load(manifest, cache)
        assert {path.name for path in cache.glob("*.tmp")} == {other.path.name, *foreign}


def test_the_writers_own_name_is_known_as_a_leftover(images_folder: Path, tmp_path: Path) -> None:
    name = filling.store_name(make(images_folder, {"a.png": noise(0)}), tasks.Job(8, 3, 100, 100))
    with pixel_store.Writer(tmp_path, name, 1, 10) as writer:
        assert pixel_store.LEFTOVER.fullmatch(writer.path.name)


# Embedded images


@pytest.mark.usefixtures("settled")
def test_embedded_images_are_loaded_stored_and_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    contents = [noise(0), b"\0junk", None, noise(3), b""]
    asked: list[list[int]] = []

    def rows_of(manifest: Manifest, rows: list[int]) -> Iterator[tuple[int, bytes | None]]:
        if rows:
            asked.append(list(rows))
        yield from ((row, contents[row]) for row in sorted(rows))

    monkeypatch.setattr(filling, "read_rows", rows_of)
    monkeypatch.setattr("labelscrub.data.images.read_rows", rows_of)
    table = tmp_path / "t.parquet"
    manifest = Manifest(
        *(table, "parquet", tmp_path, ("a",), [f"{i}" for i in range(5)], [""] * 5, np.zeros(5, np.int32)),
        tables=(table,),
        table_of=np.zeros(5, np.int32),
        spans=np.array([[i, i + 1] for i in range(5)]),
        table_sha256=("ab" * 32,),
        image_column="image",
    )
    assert image_shape(manifest, SETTINGS, None) == SHAPE
    images = load(manifest, tmp_path / "cache", count=1)
    assert images.rows.tolist() == [0, 3]
    np.testing.assert_array_equal(images.pixels[1], decode(noise(3), 8, 3, 10**8))
    assert [(s.row, s.reason) for s in images.skipped] == [
        (1, "not an image"),
        (2, "no image in this row"),
        (4, "empty file"),
    ]
    digests = hash_images(manifest, [3, 0, 2], lambda event: None)
    np.testing.assert_array_equal(digests[:2], images.sha256[::-1])
    assert not digests[2].any()
    asked.clear()
    again = load(manifest, tmp_path / "cache")
    assert asked == [[2]], "what was not there is asked for again, nothing else"
    np.testing.assert_array_equal(again.pixels, images.pixels)


# Hashing afresh


def test_hash_images_reads_the_disk_and_gives_zeros_for_what_is_gone(images_folder: Path) -> None:
    manifest = make(images_folder, {"a.png": noise(0), "b.png": noise(1), "c.png": noise(2)})
    (images_folder / "b.png").unlink()
    os.mkfifo(images_folder / "b.png")
    (images_folder / "c.png").write_bytes(b"changed")
    events: list[Event] = []
    digests = hash_images(manifest, [2, 1, 0, 2], events.append)
    expected = [hashlib.sha256(b"changed").digest(), bytes(32), hashlib.sha256(noise(0)).digest()]
    assert [row.tobytes() for row in digests] == [*expected, expected[0]]
    assert {(event.stage, event.total) for event in events} == {("verify", 4)}
    assert hash_images(manifest, [], events.append).shape == (0, 32)


def test_hash_images_gives_zeros_for_a_row_that_lost_its_file(images_folder: Path) -> None:
    """A link whose target went (`git annex drop`) is still listed, but leads to no file."""
    manifest = make(images_folder, {"a.png": noise(0), "b.png": noise(1)})
    digests = hash_images(replace(manifest, files=["a.png", ""]), [1, 0])
    assert not digests[0].any()
    assert digests[1].tobytes() == hashlib.sha256(noise(0)).digest()


def test_the_index_holds_no_pickles(images_folder: Path, tmp_path: Path) -> None:
    load(make(images_folder, {"a.png": noise(0)}), tmp_path)
    (path,) = tmp_path.glob("*.index")
    with np.load(BytesIO(path.read_bytes()[:-32]), allow_pickle=False) as index:
        assert json.loads(index["about"].tobytes())["keys"] == ["a.png"]
