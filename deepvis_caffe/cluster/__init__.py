"""Work past one process: ``(make_state, work, tasks, where) -> (index, result), ...``.

Nothing here knows what the work is. `run` is the one call, `where` says on what, `local` and
`remote` are processes of this machine and a Dask cluster, `worker` is what runs in each of them.
"""

from deepvis_caffe.cluster.run import DaskCluster, LocalProcesses, Serial, Where, run_tasks

__all__ = ["DaskCluster", "LocalProcesses", "Serial", "Where", "run_tasks"]
