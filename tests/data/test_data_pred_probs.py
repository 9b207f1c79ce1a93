"""Probabilities and labels that users bring: every format, and what each refuses."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelscrub.data.pred_labels import read_labels
from labelscrub.data.pred_probs import read_pred_probs
from labelscrub.errors import DataError, UsageError

PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]], dtype=np.float32)
PATHS = ("a.png", "b,c.png", "d é.png")


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_npy_float32_is_memory_mapped_and_unchanged(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", PROBS)
    probs, classes, paths = read_pred_probs(tmp_path / "p.npy")
    assert isinstance(probs, np.memmap)
    assert probs.dtype == np.float32
    np.testing.assert_array_equal(probs, PROBS)
    assert (classes, paths) == (None, None)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64])
def test_npy_of_other_numbers_becomes_float32(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "p.npy", np.eye(3, dtype=dtype))
    probs, _, _ = read_pred_probs(tmp_path / "p.npy")
    assert probs.dtype == np.float32
    np.testing.assert_array_equal(probs, np.eye(3))


def test_values_stay_as_given_even_where_they_are_no_probabilities(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([[np.nan, -3], [1e300, 2]]))
    probs, _, _ = read_pred_probs(tmp_path / "p.npy")
    np.testing.assert_array_equal(probs, np.array([[np.nan, -3], [np.inf, 2]], dtype=np.float32))


def test_npz_brings_classes_and_paths(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", pred_probs=PROBS, classes=np.array(["x", "y", "z"]), paths=np.array(PATHS))
    probs, classes, paths = read_pred_probs(tmp_path / "p.npz")
    np.testing.assert_array_equal(probs, PROBS)
    assert classes == ("x", "y", "z")
    assert paths == PATHS


def test_npz_with_one_array_needs_no_name(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "p.npz", PROBS)
    np.testing.assert_array_equal(read_pred_probs(tmp_path / "p.npz")[0], PROBS)


def test_npz_with_several_arrays_and_no_pred_probs_names_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", one=PROBS, two=PROBS)
    with pytest.raises(DataError, match="one, two"):
        read_pred_probs(tmp_path / "p.npz")


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("exploded"),)  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["p.npy", "p.npz"])
def test_a_pickle_is_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.array([_Bomb()], dtype=object)
    if name.endswith("npz"):
        np.savez(tmp_path / name, pred_probs=objects)
    else:
        np.save(tmp_path / name, objects, allow_pickle=True)
    with pytest.raises(DataError, match="never loaded"):
        read_pred_probs(tmp_path / name)
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(PROBS))
    with pytest.raises(DataError, match="never loaded"):
        read_pred_probs(tmp_path / "raw.npy")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("keep", [0, 1, 8, 100, 140])
def test_a_truncated_npy_is_a_data_error(tmp_path: Path, keep: int) -> None:
    np.save(tmp_path / "p.npy", PROBS)
    (tmp_path / "p.npy").write_bytes((tmp_path / "p.npy").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"p\.npy"):
        read_pred_probs(tmp_path / "p.npy")


def test_a_truncated_npz_is_a_data_error(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "p.npz", pred_probs=PROBS)
    (tmp_path / "p.npz").write_bytes((tmp_path / "p.npz").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"p\.npz"):
        read_pred_probs(tmp_path / "p.npz")


@pytest.mark.parametrize("array", [PROBS[0], PROBS[None], np.array([["a", "b"]]), PROBS.astype(complex)])
def test_npy_of_the_wrong_shape_or_kind(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "p.npy", array)
    with pytest.raises(DataError, match=r"p\.npy (has shape|holds)"):
        read_pred_probs(tmp_path / "p.npy")


def test_csv_with_header_and_paths(tmp_path: Path) -> None:
    text = "path,cat,007,NA\n" + "".join(
        f'"{path}",' + ",".join(map(str, row)) + "\n" for path, row in zip(PATHS, PROBS.tolist(), strict=True)
    )
    probs, classes, paths = read_pred_probs(written(tmp_path / "p.csv", text))
    np.testing.assert_array_equal(probs, PROBS)
    assert classes == ("cat", "007", "NA")
    assert paths == PATHS


@pytest.mark.parametrize(
    ("header", "rows", "classes"),
    [
        ("", ["0.5,0.5", "0.1,0.9"], None),
        ("", ["1,0", "0,1"], None),  # one-hot rows are no class numbers
        ("", ["0,1", "1,0"], None),
        ("0,1\n", ["0.5,0.5", "0.1,0.9"], ("0", "1")),  # pandas: columns 0..K-1
        (",0,1\n", ["0,0.5,0.5", "1,0.1,0.9"], ("0", "1")),  # pandas: with its index
        ("Unnamed: 0,a,b\n", ["1,0.5,0.5", "2,0.1,0.9"], ("a", "b")),
        ("\ufeffa,b\r\n", ["0.5,0.5\r", "0.1,0.9\r"], ("a", "b")),  # byte-order mark, Windows line ends
        ('"a\nb",c\n', ["0.5,0.5", "0.1,0.9"], ("a\nb", "c")),
        (
            "image,path\n",
            ["0.5,0.5", "0.1,0.9"],
            ("image", "path"),
        ),  # bad_inputs L06: class names like columns
    ],
)
def test_csv_headers(tmp_path: Path, header: str, rows: list[str], classes: tuple[str, ...] | None) -> None:
    probs, found, paths = read_pred_probs(written(tmp_path / "p.csv", header + "\n".join(rows) + "\n"))
    assert found == classes
    assert paths is None
    assert probs.shape == (2, 2)
    np.testing.assert_allclose(probs.sum(axis=1), 1)


def test_csv_with_numeric_ids_takes_them_for_paths_only_where_the_rest_sums_to_1(tmp_path: Path) -> None:
    probs, classes, paths = read_pred_probs(written(tmp_path / "p.csv", "id,a,b\n12,0.5,0.5\n7,0.25,0.75\n"))
    assert (classes, paths) == (("a", "b"), ("12", "7"))
    assert probs.shape == (2, 2)
    probs, classes, paths = read_pred_probs(written(tmp_path / "q.csv", "id,a,b\n0.5,0.25,0.25\n1,0,0\n"))
    assert (classes, paths) == (("id", "a", "b"), None)
    assert probs.shape == (2, 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no rows"),
        ("a,b\n", "no rows"),
        ("a,a\n0.5,0.5\n", "two columns are named 'a'"),
        ("a,b\n0.5,0.5\n0.5,x\n", "'x'"),
        ("a,b\n0.5,0.5\n0.5,x\n", "Row #3"),
        ("a,b\n0.5,0.5\n0.5,\n", "CSV column #1"),
        ("a,b\n0.5,0.5\n,0.5\n", "column 'a': row 1"),
        ("a,b\n0.5,0.5\n0.5\n", "Row #3"),
        (",a,b\n0,0.5,0.5\n2,0.5,0.5\n", "does not count the rows"),
        ("a,b\n0.5,0.5\x00\n", r"p\.csv"),
    ],
)
def test_csv_errors_say_where(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_pred_probs(written(tmp_path / "p.csv", text))


def test_csv_in_latin_1_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes("café,b\n0.5,0.5\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_pred_probs(tmp_path / "p.csv")


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 3)]
)
def test_parquet_with_a_list_column(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"probs": pa.array(PROBS.tolist(), kind), "path": list(PATHS)})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=2)
    probs, classes, paths = read_pred_probs(tmp_path / "p.parquet")
    np.testing.assert_array_equal(probs, PROBS)
    assert (classes, paths) == (None, PATHS)


def test_parquet_with_a_column_a_class(tmp_path: Path) -> None:
    columns = {"image": list(PATHS)} | {name: PROBS[:, k] for k, name in enumerate("xyz")}
    pq.write_table(pa.table(columns | {"__index_level_0__": [0, 1, 2]}), tmp_path / "p.parquet")
    probs, classes, paths = read_pred_probs(tmp_path / "p.parquet")
    np.testing.assert_array_equal(probs, PROBS)
    assert (classes, paths) == (("x", "y", "z"), PATHS)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"probs": [[0.5, 0.5], [1.0]]}, "row 1 has 1 values"),
        ({"probs": [[0.5, 0.5], None]}, "row 1 has 0 values"),
        ({"probs": [[0.5, None], [0.5, 0.5]]}, "column 'probs': row 1 has no value"),
        ({"p": [[0.5, 0.5]], "q": [[0.5, 0.5]]}, "p, q are all lists"),
        ({"a": [0.5, None], "b": [0.5, 0.5]}, "column 'a': row 1 has no value"),
        ({"a": [0.5], "b": ["x"]}, "column 'b': row 0 is 'x'"),
        ({"a": [0.5], "b": [{"c": 1}]}, "column 'b' holds struct"),
        ({"a": pa.array([], pa.float32())}, "no rows"),
    ],
)
def test_parquet_errors_say_where(tmp_path: Path, columns: dict[str, object], says: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(DataError, match=says):
        read_pred_probs(tmp_path / "p.parquet")


def test_damaged_parquet_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged"):
        read_pred_probs(written(tmp_path / "p.parquet", "PAR1 no, not really PAR1"))


@pytest.mark.parametrize("read", [read_pred_probs, read_labels])
def test_what_is_no_such_file_is_a_usage_error(tmp_path: Path, read: object) -> None:
    assert callable(read)
    for path, says in [
        (tmp_path / "none.npy", "does not exist"),
        (tmp_path, "is a folder"),
        (written(tmp_path / "x.pkl", ""), "of no known kind"),
    ]:
        with pytest.raises(UsageError, match=says):
            read(path)


def test_numbers_in_npy_labels_are_columns(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.array([0, 11, 2, -1, 10], dtype=np.int16))
    manifest = read_labels(tmp_path / "y.npy")
    assert manifest.classes == tuple(map(str, range(12)))
    assert manifest.labels.tolist() == [0, 11, 2, -1, 10]
    assert [(s.row, s.kind, s.reason) for s in manifest.skipped] == [(3, "skipped", "no label")]
    assert list(manifest.paths) == ["0", "1", "2", "3", "4"]
    assert list(manifest.files) == [""] * 5


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_text_labels_stay_as_written(tmp_path: Path, ending: str) -> None:
    manifest = read_labels(
        written(tmp_path / "y.txt", ending.join(["007", "NA", "cat ", "", "true", "007", ""]))
    )
    assert manifest.classes == ("007", "NA", "cat ", "true")
    assert manifest.labels.tolist() == [0, 1, 2, -1, 3, 0]
    assert [s.row for s in manifest.skipped] == [3]


def test_digits_as_text_are_sorted_as_numbers_like_the_columns(tmp_path: Path) -> None:
    manifest = read_labels(written(tmp_path / "y.txt", "\n".join(str(k) for k in range(12))))
    assert manifest.classes == tuple(str(k) for k in range(12))


def test_csv_labels_with_paths(tmp_path: Path) -> None:
    manifest = read_labels(written(tmp_path / "y.csv", "path,Label\na.png,007\nb.png,NA\nc.png,\n"))
    assert manifest.classes == ("007", "NA")
    assert manifest.labels.tolist() == [0, 1, -1]
    assert list(manifest.paths) == ["a.png", "b.png", "c.png"]
    assert manifest.skipped[0].path == "c.png"


def test_parquet_labels_are_text_or_column_numbers(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"label": pa.array(["b", None, "a"]).dictionary_encode()}), tmp_path / "t.parquet"
    )
    manifest = read_labels(tmp_path / "t.parquet")
    assert (manifest.classes, manifest.labels.tolist()) == (("a", "b"), [1, -1, 0])
    pq.write_table(pa.table({"label": [2, None, 0]}), tmp_path / "n.parquet")
    manifest = read_labels(tmp_path / "n.parquet")
    assert (manifest.classes, manifest.labels.tolist()) == (("0", "1", "2"), [2, -1, 0])


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([0.5, 1.0]), "holds float64"),
        (np.zeros((2, 2), dtype=int), r"no plain list"),
        (np.array([], dtype=int), "no labels"),
        (np.array([0, -2]), "row 1 is -2"),
        (np.array([0, 5_000_000]), "row 1 is 5000000"),
    ],
)
def test_npy_labels_that_are_none(tmp_path: Path, array: np.ndarray, says: str) -> None:
    np.save(tmp_path / "y.npy", array)
    with pytest.raises(DataError, match=says):
        read_labels(tmp_path / "y.npy")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,kind\na,b\n", "no column is the labels; columns: path, kind"),
        ("label,class\na,b\n", "label and class could be"),
        ("label\n", "no labels"),
    ],
)
def test_csv_labels_without_one_label_column(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_labels(written(tmp_path / "y.csv", text))


def test_parquet_labels_of_floats_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": [1.0, 2.0]}), tmp_path / "y.parquet")
    with pytest.raises(DataError, match="holds double"):
        read_labels(tmp_path / "y.parquet")
