"""Data sets that are tables or rules: what is in them, and the numbered splits of those that come without one."""

import csv
import hashlib
import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from orchestrator import Run, train
from orchestrator.cli import app
from orchestrator.core.task import dataset
from orchestrator.data import FOLDERS, DataError, load, split
from orchestrator.datasets.dataset import Undivided
from orchestrator.problems import RunFileError
from orchestrator.spec import Data

PNN_DATA = os.environ.get("PNN_DATA", "")
needs_data = pytest.mark.skipif(not PNN_DATA, reason="needs PNN_DATA: the folder of small-tabular/, vowels/ and others")
FIRST = [43, 102, 106, 11, 72, 1, 114, 140, 5, 56, 88, 49]  # rows tested on in split 0 of five classes of 30
FILES = {
    "iris": "small-tabular/iris.csv",
    "vowels": "vowels/vowels7.csv",
    "nist7x7": "nist7x7/nist7x7.npz",
    "sst2": "sst2/minilm_embeddings.npz",
}


def table(name, features, label):
    """(inputs float64, labels) of a CSV file, read by other means."""
    with open(Path(PNN_DATA) / FILES[name], newline="") as file:
        rows = list(csv.DictReader(file))
    x = [[float(v) for v in list(row.values())[features]] for row in rows]
    return np.array(x), np.array([int(row[label]) for row in rows])


def together(found):
    """All rows of both parts, label last, in an order of their own."""
    rows = np.column_stack([np.concatenate([found.x_train, found.x_test]), np.r_[found.y_train, found.y_test]])
    return rows[np.lexsort(rows.T)]


# --- numbered splits --------------------------------------------------------------------------------------------------


def numbered(labels, tests):
    """A set whose only feature says which row it is."""
    x = (np.arange(len(labels), dtype=np.float32) / 256)[:, None]
    return Undivided("numbered", x, np.array(labels, np.int32), tests, 5, "nobody", "CC0")


def ids(x):
    return (x[:, 0] * 256).astype(int)


@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=5),
    number=st.integers(0, 2**31 - 1),
    share=st.floats(0.05, 0.95),
)
def test_a_split_takes_from_each_class_its_share_and_loses_nothing(counts, number, share):
    labels = np.repeat(np.arange(len(counts)), counts)
    n = len(labels)
    tests = min(max(round(share * n), 1), n - 1)
    found = numbered(labels, tests).divided(number)
    assert len(found.y_test) == tests
    assert sorted([*ids(found.x_train), *ids(found.x_test)]) == list(range(n))
    for x, y in ((found.x_train, found.y_train), (found.x_test, found.y_test)):
        np.testing.assert_array_equal(y, labels[ids(x)])
    for label, count in enumerate(counts):
        assert abs(np.sum(found.y_test == label) - count * tests / n) < 1


def test_splits_are_the_same_for_ever_and_differ_by_their_number():
    whole = numbered(np.repeat(np.arange(5), 30), 38)
    tested = [ids(whole.divided(number).x_test) for number in range(100)]
    assert tested[0].tolist()[:12] == FIRST, "the words of Philox, and what is made of them, are frozen"
    assert len({tuple(sorted(rows)) for rows in tested}) == 100
    often = np.bincount(np.concatenate(tested), minlength=150)
    assert often.sum() == 3800
    # each row is in a test part with chance 38/150 or, by what is rounded, 7/30 or 8/30
    assert abs(often / 100 - 38 / 150).max() < 0.2


def test_the_first_training_rows_of_a_split_are_of_all_classes():
    whole = numbered(np.repeat(np.arange(5), 30), 38)  # in the order of their labels, as iris is
    for number in range(10):
        assert set(whole.divided(number).y_train[:40].tolist()) == set(range(5))


@needs_data
def test_iris_has_ten_splits_of_112_and_38():
    splits = [load("iris", split=number) for number in range(10)]
    assert len({found.x_test.tobytes() for found in splits}) == 10
    for found in splits:
        assert found.x_train.shape == (112, 4) and found.x_test.shape == (38, 4)
        assert np.bincount(found.y_test).tolist() == [12, 13, 13]
        np.testing.assert_array_equal(together(found), together(splits[0]))
    np.testing.assert_array_equal(load("iris").x_train, splits[0].x_train)


@pytest.mark.parametrize("name", ["digits", "xor", pytest.param("sst2", marks=needs_data)])
def test_a_set_with_a_split_of_its_own_has_no_other(name):
    with pytest.raises(DataError, match=f"{name} comes with its training and test parts: split must be 0, found 3"):
        load(name, split=3)


# --- what is in them --------------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("name", "features", "classes", "counts"),
    [("iris", slice(0, 4), 3, 50), ("vowels", slice(3, 15), 7, 37)],
)
def test_a_table_is_scaled_column_by_column(name, features, classes, counts):
    a, y = table(name, features, "label")
    found = load(name)
    assert found.n_classes == classes and found.shape == (a.shape[1],)
    assert np.bincount(np.r_[found.y_train, found.y_test]).tolist() == [counts] * classes
    rows = together(found)
    assert rows[:, :-1].min(axis=0).tolist() == [0.0] * a.shape[1] and (rows[:, :-1].max(axis=0) == 1).all()
    low, high = a.min(axis=0), a.max(axis=0)
    want = np.column_stack([((a - low) / (high - low)).astype(np.float32), y])
    np.testing.assert_array_equal(rows, want[np.lexsort(want.T)])


@needs_data
def test_the_vowels_are_divided_80_to_20():
    found = load("vowels", split=4)
    assert (len(found.y_train), len(found.y_test)) == (207, 52)
    assert set(np.bincount(found.y_test).tolist()) == {7, 8}


@pytest.mark.parametrize(("name", "bits"), [("xor", 2), ("parity-4", 4)])
def test_parity_is_every_row_of_bits_and_their_sum_modulo_two(name, bits, monkeypatch):
    monkeypatch.delenv("PNN_DATA", raising=False)
    found = load(name)
    want = list(itertools.product([0, 1], repeat=bits))
    assert found.x_train.tolist() == [list(row) for row in want] and found.x_train.dtype == np.float32
    assert found.y_train.tolist() == [sum(row) % 2 for row in want]
    np.testing.assert_array_equal(found.x_test, found.x_train)
    np.testing.assert_array_equal(found.y_test, found.y_train)
    assert (found.n_classes, found.shape) == (2, (bits,))


@needs_data
def test_nist7x7_is_four_letters_with_up_to_two_flipped_pixels():
    found = load("nist7x7")
    assert (found.x_train.shape, found.n_classes, found.shape) == ((44_136, 49), 4, (7, 7))
    np.testing.assert_array_equal(found.x_test, found.x_train)
    assert set(np.unique(found.x_train).tolist()) == {0.0, 1.0}
    assert np.bincount(found.y_train).tolist() == [9 * (1 + 49 + 1176)] * 4
    images = found.x_train.reshape(4, 9, 1226, 49)  # letter, place, flips
    flips = np.abs(images - images[:, :, :1]).sum(axis=-1)
    assert np.bincount(flips.astype(int).ravel()).tolist() == [36, 36 * 49, 36 * 1176]
    i_at_the_corner = images[1, 0, 0].reshape(7, 7)[:5, :5]
    assert i_at_the_corner.astype(int).tolist() == [
        [0, 1, 1, 1, 0],
        *[[0, 0, 1, 0, 0]] * 3,
        [0, 1, 1, 1, 0],
    ]
    assert load("nist7x7", size=(7, 1)).x_train.shape == (44_136, 7)


@needs_data
def test_sst2_holds_unit_vectors_in_a_fixed_map():
    found = load("sst2")
    assert found.x_train.shape == (6920, 384) and found.x_test.shape == (1821, 384) and found.n_classes == 2
    assert np.bincount(found.y_test).tolist() == [912, 909]
    for x in (found.x_train, found.x_test):
        vectors = x.astype(np.float64) * 0.6 - 0.3
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)  # of float16
    # a linear rule learns from the training part what it says of the test part: labels belong to their rows
    a = np.c_[found.x_train, np.ones(6920)].astype(np.float64)
    w = np.linalg.solve(a.T @ a + 0.1 * np.eye(385), a.T @ (2.0 * found.y_train - 1))
    right = np.mean((np.c_[found.x_test, np.ones(1821)] @ w > 0) == found.y_test)
    assert right > 0.78
    held = split(found, "validation")
    assert (len(held.y_train), len(held.y_test)) == (5536, 1384)


# --- files that are missing or others ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_says_where_it_belongs(name, tmp_path, monkeypatch):
    folder, file = FILES[name].split("/")
    says = f"Put {file} into {folder}/ in the folder that PNN_DATA names, or pass path. Origin: "
    assert FOLDERS[name] == folder
    monkeypatch.delenv("PNN_DATA", raising=False)
    with pytest.raises(DataError, match=f"{name}: its folder: expected PNN_DATA .*, found neither. {says}"):
        load(name)
    monkeypatch.setenv("PNN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"{FILES[name]}: expected a file, found none. {says}"):
        load(name)
    (tmp_path / file).mkdir()
    with pytest.raises(DataError, match=f"{file}: expected an intact file, found IsADirectoryError"):
        load(name, path=tmp_path)


@needs_data
@pytest.mark.parametrize("name", FILES)
def test_a_file_with_another_content_is_refused(name, tmp_path):
    shutil.copy(Path(PNN_DATA) / FILES[name], tmp_path)
    file = tmp_path / Path(FILES[name]).name
    file.chmod(0o600)
    good = file.read_bytes()
    assert load(name, path=str(tmp_path)).name == name
    for bad in (b"", good[:-1], good + b"\0", good[:1000] + bytes((good[1000] ^ 1,)) + good[1001:]):
        file.write_bytes(bad)
        told = f"{file.name}: expected a file with sha256 {hashlib.sha256(good).hexdigest()}, found [0-9a-f]{{64}}"
        with pytest.raises(DataError, match=told):
            load(name, path=tmp_path)


# --- in a run ---------------------------------------------------------------------------------------------------------

NETWORK = [{"substrate": "digital", "size": 8, "decode": "tanh"}, {"substrate": "digital", "size": 2}]


def refusal(**data):
    network = [{"substrate": "digital", "size": 2}]
    with pytest.raises(RunFileError) as caught:
        Run.build({"data": data, "network": network, "train": {"batch": 4}})
    return str(caught.value)


def test_every_mistake_about_a_data_set_is_told_with_its_field():
    told = refusal(name="xor", split=3, size=[2, 2], train_samples=5).splitlines()
    for line, said in zip(told, ("split = 3", "size = [2, 2]", "train_samples = 5"), strict=True):
        assert f"data.{said} cannot be used: " in line
    for line, allowed in zip(told, ("0", "two divisors of 2", "1 to 4"), strict=True):
        assert line.endswith(f"allowed: {allowed}")
    assert "data.split = -1 should be greater than or equal to 0" in refusal(name="xor", split=-1)
    too_few = "data.part = 'validation' cannot be used: A validation fraction of 0.2 takes 0 of the 2"
    assert too_few in refusal(name="xor", part="validation")


@needs_data
def test_a_run_file_says_which_split():
    asked = Data(name="iris", split=7)
    np.testing.assert_array_equal(dataset(asked).x_test, load("iris", split=7).x_test)
    network = [{"substrate": "digital", "size": 3}]
    run = Run.build({"data": {"name": "iris", "split": 7}, "network": network, "train": {"batch": 16, "chunk": 16}})
    assert run.data == asked


def test_exclusive_or_is_learnt():
    method = {"name": "physics-aware", "rate": 0.1}
    tree = {"data": {"name": "xor"}, "network": NETWORK, "method": method, "train": {"steps": 60, "batch": 4}}
    assert train(Run.build(tree)).accuracy == 1.0


def test_they_are_listed_with_their_folders(monkeypatch, tmp_path):
    (tmp_path / "small-tabular").mkdir()
    monkeypatch.setenv("PNN_DATA", str(tmp_path))
    lines = [line.split() for line in CliRunner().invoke(app, ["list"]).stdout.splitlines()]
    assert ["iris", "in", "PNN_DATA/small-tabular"] in lines
    assert ["vowels", "in", "PNN_DATA/vowels", "(not", "found)"] in lines
    assert ["xor", "ships", "with", "the", "package"] in lines
