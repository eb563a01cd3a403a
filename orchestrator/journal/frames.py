"""The format of a journal file: a chain of records, each of which shows whether it is whole.

    file  = MAGIC, record, record, ...          MAGIC: "PNNJ", format version (uint16), CR LF
    record = MARK, length, crc32(length, body), body                 (little-endian uint32)
    body  = sha256 of the body before (32 bytes), length of meta, meta (JSON), arrays (safetensors; may be empty)

A record that was cut short, with nothing after it, is a TORN TAIL: its write was under way when the process died.
A bad record with anything that looks like a record after it is DAMAGE. No pickle; lengths are checked before reading.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

FORMAT = 1
MAGIC = b"PNNJ" + struct.pack("<H", FORMAT) + b"\r\n"
MARK = b"\xf5REC"  # 0xf5 occurs in no UTF-8 text, so not in the JSON of a record
HEAD = struct.Struct("<4sII")
MAX_BODY = 1 << 28
START = bytes(32)  # what the first record follows


class Damage(ValueError):
    """A journal is damaged before its end, at byte `offset`."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"byte {offset}: {what}")
        self.offset = offset
        self.what = what


@dataclass(frozen=True)
class Event:
    """One record: its kind, its plain values, where it lies (offset..end), its hash; arrays are decoded on demand."""

    kind: str
    meta: dict[str, Any]
    offset: int
    end: int
    hash: bytes
    _blob: bytes

    def arrays(self) -> dict[str, np.ndarray]:
        """Raises `Damage` if they cannot be decoded."""
        if not self._blob:
            return {}
        try:
            return safetensors.load(self._blob)
        except SafetensorError as error:
            raise Damage(self.offset, f"arrays cannot be read ({error})") from None


def encode(previous: bytes, kind: str, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """(record, hash of its body). Raises ValueError if it would be larger than a reader accepts."""
    text = json.dumps({"kind": kind, **meta}, separators=(",", ":"), allow_nan=False).encode()
    # it writes the memory as it lies: a transposed view would come back scrambled
    blob = safetensors.save({k: np.asarray(v, order="C") for k, v in arrays.items()}) if arrays else b""
    body = b"".join((previous, struct.pack("<I", len(text)), text, blob))
    if len(body) > MAX_BODY:
        raise ValueError(f"a record of {len(body)} bytes is larger than {MAX_BODY}")
    length = struct.pack("<I", len(body))
    return HEAD.pack(MARK, len(body), zlib.crc32(body, zlib.crc32(length))) + body, hashlib.sha256(body).digest()


def check_magic(file: BinaryIO) -> None:
    """Raises `Damage` if the file is no journal of this format."""
    file.seek(0)
    magic = file.read(len(MAGIC))
    if magic[:4] != MAGIC[:4] or magic[6:] != MAGIC[6:]:
        raise Damage(0, "this is not the beginning of a journal")
    version = struct.unpack("<H", magic[4:6])[0]
    if version != FORMAT:
        raise Damage(4, f"format {version} was written by another version of this program; this one reads {FORMAT}")


def read(file: BinaryIO, offset: int = len(MAGIC), previous: bytes | None = START) -> Iterator[Event]:
    """Whole records from `offset` on, up to the end or a torn tail (then the last `end` is short of the file's size).

    `previous` None: begin anywhere in the chain. Raises `Damage`.
    """
    size = os.fstat(file.fileno()).st_size
    while offset < size:
        body = _body(file, offset, size)
        if body is None:
            if _mark_after(file, offset + 1):
                raise Damage(offset, "this record is damaged, and others follow it")
            return
        event = _decode(body, offset)
        if previous is not None and body[:32] != previous:
            raise Damage(offset, "this record does not follow the one before it")
        yield event
        previous, offset = event.hash, event.end


def _body(file: BinaryIO, offset: int, size: int) -> bytes | None:
    """The body of the record at `offset`, or None if it is not whole."""
    file.seek(offset)
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    mark, length, crc = HEAD.unpack(head)
    if mark != MARK or length > MAX_BODY or offset + HEAD.size + length > size:
        return None
    body = file.read(length)
    return body if zlib.crc32(body, zlib.crc32(head[4:8])) == crc and length >= 36 else None


def _decode(body: bytes, offset: int) -> Event:
    (length,) = struct.unpack("<I", body[32:36])
    try:
        if length > len(body) - 36:
            raise ValueError("its text is longer than the record")
        meta = json.loads(body[36 : 36 + length])
        kind = meta.pop("kind")
    except (ValueError, KeyError, AttributeError) as error:
        raise Damage(offset, f"this record says nothing that is understood ({error})") from None
    end = offset + HEAD.size + len(body)
    return Event(kind, meta, offset, end, hashlib.sha256(body).digest(), body[36 + length :])


def _mark_after(file: BinaryIO, offset: int, block: int = 1 << 20) -> bool:
    """Whether anything that looks like the beginning of a record lies at or after `offset`."""
    file.seek(offset)
    tail = b""
    while data := file.read(block):
        if MARK in tail + data:
            return True
        tail = data[-len(MARK) + 1 :]
    return False
