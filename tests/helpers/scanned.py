"""A small net, its scan of a few images, and a session that shows these results on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deepvis_caffe.dataset.open_source import open_source
from deepvis_caffe.dataset.scan import ScanParams
from deepvis_caffe.engines.base import Net
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.scan import run_scan, scan_recipe
from deepvis_caffe.jobs.top_images import ScannedImages, make_top_pictures
from deepvis_caffe.viewer.parts import Parts
from deepvis_caffe.viewer.session import Session
from deepvis_caffe.viewer.sources.open_source import parse_sources
from helpers.cluster_work import small_net
from helpers.waiting import LONG

IMAGES, TOP, UNIT = 8, 4, 2
PARAMS = ScanParams(("conv/1",), TOP, correlation=True)


def write_results(net: Net, images: Path, folder: Path, units: Sequence[int]) -> Path:
    """A scan of those images, and the pictures of some units; where they are."""
    job, source = Job(net, folder), open_source(images)
    scan = run_scan(job, source, PARAMS)
    scanned = ScannedImages(source, scan, scan_recipe(job, source, PARAMS))
    make_top_pictures(job, scanned, {"conv/1": units})
    return folder


def small_parts(model: Path, images: Path, results: Path) -> Parts:
    """The parts of a session, with a net of its own, as the viewer's is."""
    return Parts(small_net(model), parse_sources(str(images / "a")), results)


@contextmanager
def showing_unit(parts: Parts) -> Iterator[Session]:
    """A session that goes to `UNIT`."""
    made = Session(parts, 1100, 900)
    made.start()
    for key in ("down", *["right"] * UNIT):
        made.press(key)
    yield made
    assert made.close(LONG)
