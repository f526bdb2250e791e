"""Nearly valid files: ``seeds -> a strategy of bytes``, for hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

EDITS = (0, 1, 1, 1, 2, 2, 3, 6)  # how many a file has

# Numbers at the edges of their types, as files write them.
EXTREMES = tuple(
    number.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for number in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    for order in ("little", "big")
)
VARINTS = (b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x7f", b"\x80" * 10, b"\x80\x80\x80\x80\x08")
WORDS = (
    *(b"-1", b"0", b"1e400", b"nan", b"99999999999", b"1" * 5000, b"9223372036854775808", b"1.5"),
    *(b"\0", b"\xff\xfe", b"\xc3\x28", b'"', b"'", b"\\", b"\\ud800", b"\n", b"\r", b" ", b"\x85"),
    *(b"{" * 200, b"[" * 3000, b"]", b"}", b"${" * 50, b"#", b":", b",", b"null", b"true", b"{}"),
    *(b"a" * 5000, b"../" * 20, b"~nobody/x", b"/dev/zero", b"/" * 300),
)


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes] = WORDS) -> bytes:
    """One of the seeds after a few edits: bytes changed, cut out, doubled, cut off or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    put_in = st.one_of(
        st.sampled_from(EXTREMES + VARINTS), st.sampled_from(words), st.binary(max_size=8)
    )
    for _ in range(draw(st.sampled_from(EDITS))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        length = draw(st.integers(1, 24))
        match draw(st.sampled_from(("change", "change", "put in", "over", "cut", "double", "end"))):
            case "change":
                data[at] ^= draw(st.integers(1, 255))
            case "put in":
                data[at:at] = draw(put_in)
            case "over":
                new = draw(put_in)
                data[at : at + len(new)] = new
            case "cut":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + length]
            case "end":
                del data[at:]
    return bytes(data)
