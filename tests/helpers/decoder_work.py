"""Sources for decoding processes, which import them by name: they count, kill, or are slow."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.dataset.decoders import Decoders
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.errors import ImageError
from deepvis_caffe.model.preprocess import Preprocessor
from helpers.cluster_work import die_once

PREPROCESSOR = Preprocessor((3, 6, 8), 100)


def picture(index: int) -> np.ndarray:
    """(12, 16, 3), another one for each index."""
    return np.random.default_rng(index).integers(0, 256, (12, 16, 3), np.uint8)


class Drawn(Source):
    """Images that are drawn when they are read; a file of that name in a folder says so.

    Parameters
    ----------
    count
        How many.
    folder
        Gets a file for each image that was read, by its number.
    damaged
        Images that there are none of.
    deadly
        The image at which the process is killed, and the marker file that lets it happen once;
        without one, always.
    """

    kind = "drawn"

    def __init__(
        self,
        count: int,
        folder: Path,
        damaged: tuple[int, ...] = (),
        deadly: tuple[int, Path | None] | None = None,
    ) -> None:
        self.names = [f"{index:04d}" for index in range(count)]
        self.folder, self.damaged, self.deadly = folder, damaged, deadly

    def read(self, index: int) -> np.ndarray:
        """Its picture."""
        if self.deadly and index == self.deadly[0]:
            if self.deadly[1] is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                die_once(self.deadly[1])
        with (self.folder / f"{index}").open("a") as file:
            file.write(f"{os.getpid()}\n")
        if index in self.damaged:
            raise ImageError("damaged")
        return picture(index)

    def label(self, index: int) -> int | None:
        """Its number; every third has none."""
        return index if index % 3 else None

    def content(self, index: int) -> bytes:
        """Its number."""
        return b"%d" % index


class Slow(Drawn):
    """Reading takes a while."""

    def read(self, index: int) -> np.ndarray:
        """Its picture."""
        time.sleep(0.05)
        return super().read(index)


def main(folder: str) -> None:
    """Decode for minutes, to be killed or interrupted."""
    source = Slow(6000, Path(folder))
    try:
        with Decoders(source, PREPROCESSOR, 2, 4) as decoders:
            for batch in decoders.batches(range(6000)):
                say(f"got {batch.indices[0]}")
    except KeyboardInterrupt:
        say("interrupted")


def say(line: str) -> None:
    """Print a line for the parent process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def use_a_process(state: Any, task: int, tell: Any) -> list[int]:
    """A task that has images decoded: their numbers."""
    source = Drawn(3, Path(state))
    with Decoders(source, PREPROCESSOR, 1, 3) as decoders:
        return [index for batch in decoders.batches(range(3)) for index in batch.indices]


if __name__ == "__main__":
    main(sys.argv[1])
