"""Whether a window can be opened here. OpenCV's own answer, on Linux, is to end the process."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

from deepvis_caffe.errors import DeepVisError

OTHERWISE = (
    "without a screen run `deepvis view --browser` and open its page, or `deepvis view --headless` "
    "for pictures in files; over ssh, `ssh -X` brings the window to your own screen"
)


class DisplayError(DeepVisError):
    """There is no screen to open a window on."""


def check_display() -> None:
    """Raise `DisplayError`, which says what to do, where no window can be opened."""
    if not sys.platform.startswith("linux"):
        return
    wayland, x11 = os.environ.get("WAYLAND_DISPLAY"), os.environ.get("DISPLAY")
    if not wayland and not x11:
        raise DisplayError(f"there is no screen here: DISPLAY is not set; {OTHERWISE}")
    if not wayland and x11 and not _answers(x11):
        raise DisplayError(f"the screen that DISPLAY names, {x11}, does not answer; {OTHERWISE}")


def _answers(display: str) -> bool:
    """Whether an X server listens there: ``":0"`` and ``"host:10.0"`` are displays."""
    named = re.fullmatch(r"(?:(?P<host>[^:/]*)(?:/unix)?):(?P<number>\d+)(?:\.\d+)?", display)
    if named is None:
        return True  # a form that we do not know may well be right
    host, number = named["host"], int(named["number"])
    try:
        if host in ("", "unix"):
            name = f"/tmp/.X11-unix/X{number}"
            addresses = [name] if Path(name).exists() else []
            return any(_connects(address) for address in (*addresses, f"\0{name}"))
        with socket.create_connection((host, 6000 + number), timeout=3):
            return True
    except OSError:
        return False


def _connects(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(address)
        except OSError:
            return False
    return True
