"""Guess a file's type from its first bytes, for error messages."""

from __future__ import annotations

import re

_MAGIC = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
)
_TEXTS = (
    (rb"^\s*<(!doctype|html|\?xml)", "an HTML or XML page; the download may have failed"),
    (
        rb"^\s*(net|train_net|test_net|base_lr|solver_mode|max_iter|lr_policy)\s*:",
        "a solver file; give the net that it names",
    ),
    (rb"^\s*(layers?\s*\{|name\s*:\s*[\"']|input\s*:\s*[\"'])", "a prototxt (text)"),
)


def sniff(head: bytes) -> str | None:
    """What a file is, judging by its first bytes.

    Parameters
    ----------
    head
        A few thousand bytes from the start of the file.

    Returns
    -------
    str or None
        A noun phrase such as ``"a PNG picture"``; None for what may be a binary protobuf message.
    """
    if not head:
        return "an empty file"
    for magic, noun in _MAGIC:
        if head.startswith(magic):
            return noun
    if _is_binary(head):
        return None
    for pattern, noun in _TEXTS:
        if re.search(pattern, head, re.MULTILINE | re.IGNORECASE):
            return noun
    return "a text file"


def _is_binary(head: bytes) -> bool:
    controls = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    return b"\0" in head or controls > len(head) // 100
