"""Progress: a bar on one line, or a line from time to time, and the time left."""

from __future__ import annotations

import pytest

from deepvis_caffe.cli.progress import Estimate, bar_line, duration, plain_lines


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


def test_what_was_done_before_took_no_time() -> None:
    now = 0.0
    estimate = Estimate(lambda: now)
    for step in range(101):  # 900 images are there already; then 2 in each second
        now = step / 2
        estimate.update(900 + step, 2000)
    assert estimate.rate == pytest.approx(2)
    assert estimate.left == pytest.approx(1000 / 2)
    now += 30  # without a report, it counts down
    assert estimate.left == pytest.approx(1000 / 2 - 30)


def test_a_slow_beginning_does_not_count_for_ever() -> None:
    now = 0.0
    estimate = Estimate(lambda: now)
    for second in range(4000):  # many more reports than are remembered
        now = float(second)
        estimate.update(second if second < 60 else 60 + 20 * (second - 60), 100_000)
    assert estimate.rate == pytest.approx(20)
    assert estimate.left == pytest.approx((100_000 - estimate.done) / 20)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize(
    ("what", "done", "total"),
    [
        ("pool10", 5, 10),
        ("a_layer_with_a_very_long_name/of_a_block on pycaffe, cuda:1", 8_123_456, 98_640_000),
    ],
)
def test_a_bar_is_one_line_and_says_what_is_left(
    what: str, done: int, total: int, width: int
) -> None:
    now = 0.0
    estimate = Estimate(lambda: now)
    estimate.update(0, total)
    now = 100.0
    estimate.update(done, total)
    line = bar_line(what, "image steps", estimate, width)
    assert len(line) <= width
    if width >= 40:
        left = round((total - done) / done * 100)
        clock = f"{left // 60}:{left % 60:02} left"
        assert line.endswith(clock)
        assert f"{100 * done // total}%" in line
    if width >= 80:
        assert f"{done:,}/{total:,} image steps" in line


def test_a_full_bar_is_full() -> None:
    estimate = Estimate(lambda: 0.0)
    estimate.update(3, 4)
    line = bar_line("x", "units", estimate)
    assert line.count("━") == 3 * line.count("─")
    estimate.update(4, 4)
    assert "─" not in bar_line("x", "units", estimate)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (95, "2 minutes"), (5340, "89 minutes"), (9000, "2.5 hours"),
     (8 * 86400, "8.0 days")],
)  # fmt: skip
def test_a_duration_as_text(seconds: float, words: str) -> None:
    assert duration(seconds) == words
