"""Pack the two UCI files of optdigits into the archive that ships with the orchestrator.

Usage: PNN_DATA=<folder> python tools/pack_optdigits.py

Reads $PNN_DATA/optdigits/optdigits.tra and .tes, writes orchestrator/datasets/optdigits.npz and prints the
digest of each member, which orchestrator/datasets/images.py repeats. The bytes depend on the input (fixed order, fixed
dates) and on the version of zlib; the digests, of the decompressed members, on the input alone.
"""

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).resolve().parents[1] / "orchestrator" / "datasets" / "optdigits.npz"
UCI = {  # part: file, rows, sha256 of the file
    "train": ("optdigits.tra", 3823, "e1b683cc211604fe8fd8c4417e6a69f31380e0c61d4af22e93cc21e9257ffedd"),
    "test": ("optdigits.tes", 1797, "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"),
}


def members(folder: Path) -> dict[str, bytes]:
    """The four members of the archive as .npy bytes: x [n, 8, 8] uint8 in 0..16, y [n] uint8 in 0..9.

    Raises:
        ValueError: a file is not the published one.
    """
    packed: dict[str, bytes] = {}
    for part, (file, rows, sha256) in UCI.items():
        content = (folder / file).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"{folder / file} is not the UCI file: expected sha256 {sha256}.")
        table = np.loadtxt(io.BytesIO(content), delimiter=",", dtype=np.uint8).reshape(rows, 65)
        packed[f"x_{part}"] = _npy(table[:, :64].reshape(rows, 8, 8))
        packed[f"y_{part}"] = _npy(table[:, 64])
    return packed


def archive(packed: dict[str, bytes]) -> bytes:
    """The .npz file: a zip of the members, every one with the same early date."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, content in packed.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            target.writestr(entry, content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def main() -> None:
    root = os.environ.get("PNN_DATA")
    if not root:
        sys.exit("Set PNN_DATA to the folder that holds optdigits/optdigits.tra and optdigits/optdigits.tes.")
    packed = members(Path(root) / "optdigits")
    TARGET.write_bytes(archive(packed))
    for name, content in packed.items():
        print(name, hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
