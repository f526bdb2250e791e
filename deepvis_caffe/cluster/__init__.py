"""Run tasks in one or many processes, whatever the tasks are.

`run` has the entry point, and `where` describes the places to run in: this process, worker
processes on this machine (`local`, `process`, `cores`), or a Dask cluster (`remote`).
"""

from deepvis_caffe.cluster.run import run_tasks
from deepvis_caffe.cluster.where import DaskCluster, LocalProcesses, Serial, Where

__all__ = ["DaskCluster", "LocalProcesses", "Serial", "Where", "run_tasks"]
