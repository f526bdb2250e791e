"""Run tasks in one or many processes.

Nothing here knows what the work is. `run` holds the one call, and `where` names the places that it
can run in: this process, processes of this machine (`local`, `process`, `cores`), or a Dask cluster
(`remote`).
"""

from deepvis_caffe.cluster.run import run_tasks
from deepvis_caffe.cluster.where import DaskCluster, LocalProcesses, Serial, Where

__all__ = ["DaskCluster", "LocalProcesses", "Serial", "Where", "run_tasks"]
