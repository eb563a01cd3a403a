import gzip
import hashlib
import io
import os
import pickle
import runpy
import shutil
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import data
from orchestrator.data import DataError, Dataset, load, split
from orchestrator.datasets import images

ROOT = Path(data.__file__).parents[1]
EMBEDDED = ROOT / "orchestrator" / "datasets" / "optdigits.npz"
PNN_DATA = os.environ.get("PNN_DATA", "")
needs_data = pytest.mark.skipif(not PNN_DATA, reason="needs PNN_DATA: the folder of mnist/, optdigits/ and others")


def small(**changes: object) -> Dataset:
    """Twelve samples of 2x2 in three classes, of which each change replaces one field."""
    x = np.linspace(0, 1, 48, dtype=np.float32).reshape(12, 4)
    y = np.arange(12, dtype=np.int32) % 3
    return Dataset(
        **{"name": "small", "x_train": x, "y_train": y, "x_test": x[:3], "y_test": y[:3]}
        | {"n_classes": 3, "shape": (2, 2)}
        | changes
    )


# the embedded set


def test_digits_ships_with_the_software_and_needs_no_environment(monkeypatch):
    monkeypatch.delenv("PNN_DATA", raising=False)
    digits = load("digits")
    assert digits.x_train.shape == (3823, 64) and digits.x_test.shape == (1797, 64)
    assert digits.x_train.dtype == np.float32 and digits.y_train.dtype == np.int32
    assert digits.x_train.min() == 0 and digits.x_train.max() == 1
    assert (digits.n_classes, digits.shape, digits.licence) == (10, (8, 8), "CC BY 4.0")
    # the class counts that UCI publishes
    assert np.bincount(digits.y_train).tolist() == [376, 389, 380, 389, 387, 376, 377, 387, 380, 382]
    levels = [(x * 16).astype(np.uint8).tobytes() for x in (digits.x_train, digits.x_test)]
    labels = [y.astype(np.uint8).tobytes() for y in (digits.y_train, digits.y_test)]
    content = hashlib.sha256(b"".join(levels + labels)).hexdigest()
    assert content == "9680ef2a28dfb51bb9a7cf2a994167bd3875fee98984a53ddb7b176e474b4600"


def test_the_licence_lies_beside_the_data():
    text = (EMBEDDED.parent / "LICENSE-optdigits.md").read_text()
    assert "CC BY 4.0" in text and "Alpaydin" in text and "https://doi.org/10.24432/C50P49" in text


@needs_data
def test_the_archive_is_what_the_tool_packs_from_the_files_of_uci():
    tool = runpy.run_path(str(ROOT / "tools" / "pack_optdigits.py"))
    packed = tool["members"](Path(PNN_DATA) / "optdigits")
    with np.load(EMBEDDED, allow_pickle=False) as embedded:
        for name, content in packed.items():
            np.testing.assert_array_equal(np.load(io.BytesIO(content)), embedded[name])
    assert tool["archive"](packed) == tool["archive"](packed)


# damage


def refused_digits(folder: Path, content: bytes) -> str:
    (folder / "optdigits.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"optdigits\.npz.*expected.*found.*install") as caught:
        load("digits", path=folder)
    assert caught.value.__cause__ is None  # no traceback of zipfile below ours
    return str(caught.value)


def repacked(**changes: object) -> bytes:
    with np.load(EMBEDDED) as embedded:
        arrays = {name: embedded[name] for name in embedded.files}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **(arrays | changes))
    return buffer.getvalue()


@pytest.mark.parametrize("kept", [0, 1, 30, 1000, 70_000, 139_000, -23, -1])
def test_a_truncated_archive_is_refused(tmp_path, kept):
    refused_digits(tmp_path, EMBEDDED.read_bytes()[:kept])


@settings(max_examples=60, deadline=None)
@given(where=st.integers(0, EMBEDDED.stat().st_size - 1), flip=st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_changes_nothing(tmp_path_factory, where, flip):
    content = bytearray(EMBEDDED.read_bytes())
    content[where] ^= flip
    folder = tmp_path_factory.mktemp("flipped")
    (folder / "optdigits.npz").write_bytes(content)
    try:
        found = load("digits", path=folder)
    except DataError:
        return
    finally:
        shutil.rmtree(folder)
    for part in ("x_train", "y_train", "x_test", "y_test"):  # dates and attributes of members are no content
        np.testing.assert_array_equal(getattr(found, part), getattr(load("digits"), part))


def test_an_archive_repacked_unchanged_is_accepted(tmp_path):
    (tmp_path / "optdigits.npz").write_bytes(repacked())
    np.testing.assert_array_equal(load("digits", path=str(tmp_path)).x_test, load("digits").x_test)


def test_another_content_is_refused(tmp_path):
    with np.load(EMBEDDED) as embedded:
        labels, images = embedded["y_train"].copy(), embedded["x_test"].astype(np.float32)
    labels[5] = (labels[5] + 1) % 10
    images[0, 0, 0] = np.nan
    assert "y_train.npy with sha256" in refused_digits(tmp_path, repacked(y_train=labels))
    assert "x_test.npy with sha256" in refused_digits(tmp_path, repacked(x_test=images))
    assert "y_test.npy with sha256" in refused_digits(tmp_path, repacked(y_test=np.array([{}, None])))
    with np.load(EMBEDDED) as embedded:
        incomplete = {name: embedded[name] for name in embedded.files if name != "y_test"}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **incomplete)
    assert "y_test.npy" in refused_digits(tmp_path, buffer.getvalue())


def test_a_header_that_announces_too_much_allocates_nothing(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": (2**50,)})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for part in ("x_train", "y_train", "x_test", "y_test"):
            target.writestr(f"{part}.npy", buffer.getvalue())
    refused_digits(tmp_path, archive.getvalue())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.full((12, 4), np.nan, np.float32)}, "train part: expected inputs in 0..1, found nan"),
        ({"x_test": np.full((3, 4), np.inf, np.float32)}, "test part: expected inputs in 0..1, found inf"),
        ({"x_test": np.full((3, 4), -0.1, np.float32)}, "found -0.1"),
        ({"x_test": np.full((3, 4), 0.1)}, "found float64"),
        ({"x_test": np.zeros((3, 5), np.float32)}, "found float32 \\[3, 5\\]"),
        ({"x_test": np.zeros((0, 4), np.float32)}, "found float32 \\[0, 4\\]"),
        ({"x_test": np.zeros((3, 2, 2), np.float32)}, "found float32 \\[3, 2, 2\\]"),
        ({"y_test": np.array([0, 1, 3], np.int32)}, "labels 0..2, found 0..3"),
        ({"y_test": np.array([0, 1, -1], np.int32)}, "labels 0..2, found -1..1"),
        ({"y_test": np.array([0, 1], np.int32)}, "labels int32 \\[3\\], found int32 \\[2\\]"),
        ({"y_test": np.array([0, 1, 2])}, "found int64"),
        ({"shape": (2, 3)}, "\\[n > 0, 6\\]"),
    ],
)
def test_a_wrong_data_set_cannot_exist(changes, message):
    with pytest.raises(DataError, match=message):
        small(**changes)


def test_one_nan_among_good_values_is_found():
    x = np.full((12, 4), 0.5, np.float32)
    x[7, 2] = np.nan
    with pytest.raises(DataError, match="found nan"):
        small(x_train=x)


def test_a_data_set_is_read_only_and_its_makers_arrays_are_not():
    x = np.zeros((3, 4), np.float32)
    dataset = small(x_test=x)
    with pytest.raises(ValueError, match="read-only"):
        dataset.x_test[0, 0] = 1
    x[0, 0] = 1


def test_a_data_set_survives_the_way_to_another_process():
    there = pickle.loads(pickle.dumps(small()))
    np.testing.assert_array_equal(there.x_train, small().x_train)


# IDX files, of a set small enough to damage


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


TINY = {
    "train-images": np.arange(80, dtype=np.uint8).reshape(5, 4, 4) * 3,
    "train-labels": np.array([0, 1, 2, 1, 0], np.uint8),
    "t10k-images": np.arange(32, dtype=np.uint8).reshape(2, 4, 4) * 8,
    "t10k-labels": np.array([2, 1], np.uint8),
}


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """The folder of a good set `tiny`, found through PNN_DATA."""
    parts = [(f"{name}.gz", array.shape, hashlib.sha256(idx(array)).hexdigest()) for name, array in TINY.items()]
    record = images.Record("tiny", 255, 3, "Some Body (2001).", "CC0", "Put it there.", parts)
    monkeypatch.setitem(data.LOADERS, "tiny", partial(images.read_idx, record))
    monkeypatch.setenv("PNN_DATA", str(tmp_path))
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, array in TINY.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return folder


def test_idx_files_are_read_from_pnn_data_or_from_a_path(tiny, monkeypatch):
    found = load("tiny")
    np.testing.assert_array_equal(found.x_train, (TINY["train-images"].reshape(5, 16) / 255).astype(np.float32))
    np.testing.assert_array_equal(found.y_test, [2, 1])
    assert (found.shape, found.source, found.licence) == ((4, 4), "Some Body (2001).", "CC0")
    monkeypatch.delenv("PNN_DATA")
    np.testing.assert_array_equal(load("tiny", path=tiny).x_train, found.x_train)


@pytest.mark.parametrize("kept", [0, 1, 5, 11, 20, -9, -4, -1])
def test_a_truncated_gzip_file_is_refused(tiny, kept):
    file = tiny / "train-images.gz"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"train-images\.gz: expected .* found .*Put it there\. Origin: Some Body"):
        load("tiny")


def test_a_flipped_bit_of_a_gzip_file_is_refused_or_changes_nothing(tiny):
    file = tiny / "t10k-images.gz"
    good, expected, refused = file.read_bytes(), load("tiny"), 0
    for where in range(len(good)):
        for bit in range(8):
            file.write_bytes(good[:where] + bytes((good[where] ^ 1 << bit,)) + good[where + 1 :])
            try:
                np.testing.assert_array_equal(load("tiny").x_test, expected.x_test)
            except DataError:
                refused += 1
    assert refused > 8 * (len(good) - 10)  # all, except in gzip's own header of 10 bytes (date, system)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (idx(TINY["train-labels"]), r"found \[2049, 5"),  # labels where images belong
        (idx(TINY["t10k-images"]), r"found \[2051, 2, 4, 4\]"),  # the test images
        (b"\0\0\x0d\3" + idx(TINY["train-images"])[4:], r"found \[3331, 5, 4, 4\]"),  # float32
        (idx(TINY["train-images"])[:4] + b"\xff" * 12, r"found \[2051, 4294967295"),  # 80 GB announced
        (idx(TINY["train-images"])[:-1], "96 bytes, found .* 95 bytes"),
        (idx(TINY["train-images"]) + b"\0", "found .* more than 96 bytes"),
        (idx(TINY["train-images"]) + bytes(2**24), "found .* more than 96 bytes"),
        (idx(TINY["train-images"] + np.uint8(1)), "sha256"),
        (b"", r"found \[0, 0, 0, 0\], 0 bytes"),
    ],
)
def test_another_idx_file_is_refused(tiny, content, found):
    (tiny / "train-images.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=found):
        load("tiny")


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=300), compressed=st.booleans())
def test_any_bytes_are_refused(tmp_path_factory, content, compressed):
    folder = tmp_path_factory.mktemp("any")
    for name in ("train-images-idx3-ubyte.gz", "optdigits.npz"):
        (folder / name).write_bytes(gzip.compress(content) if compressed else content)
    for name in ("mnist", "digits"):
        with pytest.raises(DataError):
            load(name, path=folder)
    shutil.rmtree(folder)


# what is missing, and names


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_a_missing_set_says_where_to_put_what(tmp_path, monkeypatch, name):
    says = f"train-labels-idx1-ubyte.gz, .*into {name}/ in the folder that PNN_DATA names.* Origin: "
    monkeypatch.delenv("PNN_DATA", raising=False)
    with pytest.raises(DataError, match=f"expected PNN_DATA .*, found neither.*{says}"):
        load(name)
    monkeypatch.setenv("PNN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"{name}/train-images-idx3-ubyte.gz: expected a file, found none.*{says}"):
        load(name)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=says):
        load(name, path=tmp_path / "file")


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "optdigits.npz").mkdir()
    with pytest.raises(DataError, match="IsADirectoryError"):
        load("digits", path=tmp_path)


@pytest.mark.parametrize(
    ("name", "near"),
    [("MNIST", "mnist"), ("fashion_mnist", "fashion-mnist"), ("digts", "digits"), ("?", None)],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name, near):
    with pytest.raises(DataError, match="Known: digits, mnist, fashion-mnist") as caught:
        load(name)
    assert ("Did you mean" in str(caught.value)) == (near is not None)
    assert near is None or f"Did you mean {near!r}?" in str(caught.value)


# sizes


def test_a_smaller_image_holds_the_means_of_blocks():
    full, half = load("digits"), load("digits", size=(4, 2))
    assert half.shape == (4, 2) and half.x_train.shape == (3823, 8)
    block = full.x_test[3].reshape(8, 8)[2:4, 4:8]  # second row, second column
    assert half.x_test[3].reshape(4, 2)[1, 1] == block.mean()
    np.testing.assert_array_equal(half.y_train, full.y_train)
    np.testing.assert_array_equal(load("digits", size=(8, 8)).x_train, full.x_train)


@pytest.mark.parametrize("size", [(3, 4), (0, 4), (-2, 4), (16, 16), (4,), (4, 4, 4), (2.5, 4)])
def test_a_size_that_does_not_divide_is_refused(size):
    with pytest.raises(DataError, match=r"digits is \(8, 8\): size must"):
        load("digits", size=size)


# the validation part


def test_the_validation_part_comes_from_the_training_part():
    digits = load("digits")
    assert split(digits, "test") is digits
    held = split(digits, "validation")
    assert len(held.x_train) + len(held.x_test) == 3823
    assert len(held.x_test) == pytest.approx(0.2 * 3823, abs=5)
    known = {row.tobytes() for row in digits.x_test}
    trained = {row.tobytes() for row in digits.x_train}
    for part in (held.x_train, held.x_test):
        rows = {row.tobytes() for row in part}
        assert not rows & known and rows <= trained
    again = split(load("digits"), "validation", 0.2)
    np.testing.assert_array_equal(held.x_test, again.x_test)
    np.testing.assert_array_equal(held.y_train, again.y_train)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    fraction=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
def test_every_class_is_divided_alike_and_nothing_is_lost(labels, fraction):
    y = np.array(labels, np.int32)
    x = (np.arange(len(y), dtype=np.float32) / 64)[:, None]  # each sample says who it is
    whole = Dataset("whole", x, y, np.ones((1, 1), np.float32), np.zeros(1, np.int32), 4, (1,))
    counts = np.bincount(y, minlength=4)
    expected = [round(fraction * count) for count in counts.tolist()]
    if any(count and not 0 < held < count for count, held in zip(counts, expected, strict=True)):
        with pytest.raises(DataError, match="choose another"):
            split(whole, "validation", fraction)
        return
    found = split(whole, "validation", fraction)
    assert np.bincount(found.y_test, minlength=4).tolist() == expected
    ids = [(part[:, 0] * 64).astype(int) for part in (found.x_train, found.x_test)]
    assert sorted(np.concatenate(ids).tolist()) == list(range(len(y)))
    assert all((np.diff(part) > 0).all() for part in ids)  # in the order of the file
    np.testing.assert_array_equal(y[ids[1]], found.y_test)
    for label in np.unique(y):
        assert ids[0][found.y_train == label].max() < ids[1][found.y_test == label].min()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction):
    with pytest.raises(DataError, match="between 0 and 1"):
        split(small(), "validation", fraction)


def test_an_unknown_part_is_refused():
    with pytest.raises(DataError, match="Known: 'test', 'validation'"):
        split(small(), "train")


# the real files


@needs_data
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_files_are_read(name):
    full = load(name)
    assert full.x_train.shape == (60_000, 784) and full.x_test.shape == (10_000, 784)
    assert (full.n_classes, full.shape) == (10, (28, 28))
    assert full.x_train.min() == 0 and full.x_train.max() == 1
    if name == "mnist":
        assert full.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
        assert np.bincount(full.y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    else:
        assert (np.bincount(full.y_train) == 6000).all()


@needs_data
def test_mnist_is_reduced_to_14_by_14():
    full, half = load("mnist"), load("mnist", size=(14, 14))
    assert half.x_train.shape == (60_000, 196) and half.shape == (14, 14)
    images = full.x_test.reshape(-1, 28, 28).astype(np.float64)
    means = (images[:, ::2, ::2] + images[:, ::2, 1::2] + images[:, 1::2, ::2] + images[:, 1::2, 1::2]) / 4
    np.testing.assert_array_equal(half.x_test, means.reshape(-1, 196).astype(np.float32))
    assert np.bincount(split(half, "validation").y_test).sum() == pytest.approx(12_000, abs=5)
