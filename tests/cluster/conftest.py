"""A real Dask cluster, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import dask
import pytest
from distributed import LocalCluster


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The scheduler of two workers, each a process, on this machine's own loopback.

    A task may lose one worker, not two.
    """
    with (
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": 1,
                "distributed.comm.timeouts.connect": "300s",  # for machines with other work to do
            }
        ),
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
    ):
        yield cluster.scheduler_address
