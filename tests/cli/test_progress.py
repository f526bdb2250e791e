"""Progress where there is no terminal: a line now and then, with the time left."""

from __future__ import annotations

import pytest

from deepvis_caffe.cli.progress import plain_lines


def test_plain_lines_come_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    report = plain_lines("fc8", "image steps", lambda: now)
    for second in range(1, 25):
        now = 100.0 + second
        report(second * 50, 10_000)
    assert capsys.readouterr().err.splitlines() == [
        "fc8: 100 of 10,000 image steps, 50 a second, about 0:03:18 left",
        "fc8: 600 of 10,000 image steps, 50 a second, about 0:03:08 left",
        "fc8: 1,100 of 10,000 image steps, 50 a second, about 0:02:58 left",
    ]


def test_plain_lines_without_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    report = plain_lines("fetching", "bytes", lambda: now)
    now = 3.0
    report(4096, None)
    assert capsys.readouterr().err == "fetching: 4,096 bytes\n"
