"""Displays that are not there. Oracle: each of these makes a window of OpenCV end the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepvis_caffe.viewer.window.display import DisplayError, check_display


@pytest.mark.process
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "DISPLAY is not set.*--browser.*ssh -X"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "DISPLAY is not set.*--browser"),
        ({"DISPLAY": ":4071"}, ":4071 does not answer.*--browser"),
        ({"DISPLAY": ":4071", "WAYLAND_DISPLAY": "wayland-0"}, ":4071 does not answer"),
        (
            {"DISPLAY": ":0", "QT_QPA_PLATFORM": "wayland"},
            "QT_QPA_PLATFORM=wayland.*available: xcb",
        ),
    ],
)
def test_no_display_is_said_in_words(
    variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plugin = tmp_path / "qt" / "plugins" / "platforms" / "libqxcb.so"
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("cv2.currentUIFramework", lambda: "QT5")
    monkeypatch.setattr("cv2.__file__", str(tmp_path / "__init__.py"))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DisplayError, match=words):
        check_display()


def test_an_opencv_without_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.currentUIFramework", lambda: "")
    with pytest.raises(DisplayError, match="opencv-python-headless"):
        check_display()
