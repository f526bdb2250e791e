"""A pass in a separate process, to be killed: ``dataset_work.py MODEL IMAGES OUT DIE_AT``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import ScanParams
from deepvis_caffe.jobs.scan import scan_dataset
from helpers.cluster_work import small_net

LAYERS = ("conv/1", "fc")
SHARD = 5


def main(model: Path, images: Path, out: Path, die_at: int) -> None:
    """The whole pass; killed as soon as `die_at` images are done, if that is not 0."""

    def progress(done: int, total: int) -> None:
        if die_at and done >= die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    net = small_net(model)
    params = ScanParams(LAYERS, 4)
    source = open_source(images)
    scan_dataset(net, source, out, params, batch_size=2, shard_size=SHARD, progress=progress)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
