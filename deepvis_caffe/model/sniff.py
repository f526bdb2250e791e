"""Guess a file's type from its first bytes, for error messages."""

from __future__ import annotations

import re

HDF5, LMDB = "an HDF5 file", "an LMDB database"
TEXTS = EMPTY, TEXT = "an empty file", "a text file"

_MAGIC = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89HDF\r\n", HDF5),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it first"),
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"MATLAB ", "a MATLAB file (.mat)"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"7767517", "an ncnn parameter file"),
    (b"\x12\x01\0\0\0\0\0\0", "MXNet weights (.params)"),
    (b"\0\0\0\0\x01\0\0\0", "Darknet weights (.weights)"),
    (b"\0\0\0\0\x02\0\0\0", "Darknet weights (.weights)"),
)
_AT = (  # offset, bytes, noun
    (4, b"TFL3", "a TensorFlow Lite file"),
    (8, b'{"', "a safetensors file"),
    (16, b"\xde\xc0\xef\xbe", LMDB),
)
_TAR, _TAR_AT = b"ustar", 257
_ZIP = b"PK\x03\x04"
_PYTORCH = "a PyTorch file (.pth, .pt)"
_PYTORCH_PARTS = rb"/(data\.pkl|data/\d+|version|byteorder|\.format_version|\.data/.*|code/.*)$"
_PYTORCH_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # the first pickle in a torch.save file
_TEXTS = (
    (rb"^\s*<(!doctype|html|\?xml)", "an HTML or XML page; the download may have failed"),
    (
        rb"^\s*(net|train_net|test_net|base_lr|solver_mode|max_iter|lr_policy)\s*:",
        "a solver file; give the net that it names",
    ),
    (rb"^\s*(layers?\s*\{|name\s*:\s*[\"']|input\s*:\s*[\"'])", "a prototxt (text)"),
)
_NUMBER = rb"[\x80-\xff]{0,9}[\0-\x7f]"  # a varint


def sniff(head: bytes) -> str | None:
    """A file's type, judging by its first bytes.

    Parameters
    ----------
    head
        A few thousand bytes from the start of the file.

    Returns
    -------
    str or None
        A noun phrase such as ``"a PNG picture"``; None if it may be a net in binary form.
    """
    if not head:
        return EMPTY
    for magic, noun in _MAGIC:
        if head.startswith(magic):
            return noun
    for place, magic, noun in _AT:
        if head.startswith(magic, place):
            return noun
    if head.startswith(_ZIP):
        return _zip(head)
    if head.startswith(_TAR, _TAR_AT):
        return f"a tar archive{_holding(head[:100].rstrip(bytes(1)))}; unpack it first"
    if re.match(rb"\x80[\x02-\x05]", head):
        return _PYTORCH if _PYTORCH_MAGIC in head[:40] else "a Python pickle"
    if _is_binary(head):
        return _message(head)
    for pattern, noun in _TEXTS:
        if re.search(pattern, head, re.MULTILINE | re.IGNORECASE):
            return noun
    return TEXT


def _zip(head: bytes) -> str:
    """A zip archive's type, by the name of its first file after a 30-byte header."""
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if re.search(
        rb"/(data\.pkl|data/\d+|version|byteorder|\.(format_version|data/).*|code/)", first
    ):
        return _PYTORCH
    if first.endswith(b".npy"):
        return "several numpy arrays (.npz)"
    return f"a zip archive{_holding(first)}; unpack it first"


def _holding(name: bytes) -> str:
    return f" that holds {name.decode(errors='replace')!r}" if name else ""


def _message(head: bytes) -> str | None:
    """A protobuf message of another type than a net, by its first fields; None if it may be one.

    A net starts with its name: field 1, and bytes.
    """
    if re.match(rb"\x08%b\x10%b\x18%b\x20%b\x2a" % ((_NUMBER,) * 4), head):
        return "a mean (.binaryproto); set `mean` to it"
    if found := re.match(rb"\x08%b\x12" % _NUMBER, head):
        # A solver's state: iteration, file of the net, history. ONNX: format, producer, version.
        net = _text(head[found.end() :])
        if net.endswith((".caffemodel", ".caffemodel.h5")):
            return (
                "a solver's state (.solverstate), which holds no weights; give the caffemodel of "
                f"the same iteration: {net}"
            )
    if re.match(rb"\x08%b[\x10\x12\x1a\x20\x22\x3a\x42]" % _NUMBER, head):
        return "a file of another program than Caffe (ONNX, TensorFlow or Core ML)"
    if re.match(rb"\x0a%b\x0a.[\w/.-]+\x12.[A-Z]\w+" % _NUMBER, head, re.DOTALL | re.ASCII):
        return "a TensorFlow graph (.pb)"
    if b"GivenTensor" in head:
        return "weights of Caffe2 (init_net.pb)"
    return None


def _text(data: bytes) -> str:
    """The text at the start of `data`, which follows its length."""
    length = re.match(_NUMBER, data)
    if length is None:
        return ""
    size = sum((byte & 127) << 7 * place for place, byte in enumerate(length[0]))
    return data[length.end() : length.end() + size].decode(errors="replace")


def _is_binary(head: bytes) -> bool:
    controls = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    return b"\0" in head or controls > len(head) // 100
