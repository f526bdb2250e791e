"""Pictures of each unit's weights, in the results folder: ``(job, layer) -> folder``."""

from __future__ import annotations

from pathlib import Path

from deepvis_caffe.figures.weights import layer_weights
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.model.labels import label_of
from deepvis_caffe.progress import ProgressCallback
from deepvis_caffe.results import layout
from deepvis_caffe.results.records import check_picture_owner, write_with_record


def write_weight_pictures(job: Job, layer: str, progress: ProgressCallback | None = None) -> Path:
    """Write a picture of each unit's weights, and its JSON record.

    Parameters
    ----------
    layer
        As for `deepvis_caffe.figures.weights.layer_weights`.
    progress
        Called with the number of units done, and the total.

    Returns
    -------
    Path
        The pictures' folder.

    Raises
    ------
    ModelError
        The layer has no weights, or none that are kernels.
    ResultsError
        Another program or layer made pictures there, or they cannot be written.
    """
    found = layer_weights(job.net, layer)
    labels, count, store = job.net.labels_of(layer), len(found.values), job.store
    for unit in range(count):
        name = layout.WeightPicture(unit)
        path = layout.path_of(store.folder, layout.WEIGHTS, layer, name, store.folders)
        check_picture_owner(path, layer)
        known = found.statistics(unit)
        record = {
            "layer": layer,
            "unit": unit,
            "label": label_of(labels, unit, count),
            "model": job.model_names,
            "recipe": {"net": job.net.fingerprint},
            "statistics": {
                "mean": known.mean,
                "std": known.std,
                "low": known.low,
                "high": known.high,
            },
        }
        write_with_record(path, found.picture(unit), record)
        if progress is not None:
            progress(unit + 1, count)
    return layout.layer_folder(store.folder, layout.WEIGHTS, layer, store.folders)
