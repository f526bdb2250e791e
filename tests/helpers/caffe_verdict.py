"""What real Caffe does with many nets: shapes, or an abort. Each net runs in its own process.

An invalid net aborts Caffe's process, so this file is also a program, which forks for each net.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def caffe_verdicts(texts: list[str]) -> list[dict[str, Any] | None]:
    """For each prototxt its blobs' and weights' shapes, or None where Caffe aborts."""
    with tempfile.TemporaryDirectory() as folder:
        for i, text in enumerate(texts):
            Path(folder, f"{i}.prototxt").write_text(text)
        environment = {**os.environ, "GLOG_minloglevel": "4", "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, __file__, folder, str(len(texts))],
            check=True,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        return [
            json.loads(path.read_text()) if path.exists() else None
            for path in (Path(folder, f"{i}.json") for i in range(len(texts)))
        ]


def _main(folder: str, count: int) -> None:
    import resource

    import caffe

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    for i in range(count):
        child = os.fork()
        if child == 0:
            net = caffe.Net(str(Path(folder, f"{i}.prototxt")), caffe.TEST)
            verdict = {
                "blobs": {name: list(blob.data.shape) for name, blob in net.blobs.items()},
                "weights": {
                    name: [list(blob.data.shape) for blob in blobs]
                    for name, blobs in net.params.items()
                },
            }
            Path(folder, f"{i}.json").write_text(json.dumps(verdict))
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
