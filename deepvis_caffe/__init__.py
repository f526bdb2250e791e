"""See what every unit of a Caffe model computes.

>>> import deepvis_caffe as dv
>>> net = dv.load_net("deploy.prototxt", "weights.caffemodel", mean=(104, 117, 123))
>>> runs = dv.optimize(net, layer="fc8", units=[130], seeds=range(9))

The names below are imported on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepvis_caffe.attribution.attribute import attribute as attribute
    from deepvis_caffe.attribution.driver_results import Drivers as Drivers
    from deepvis_caffe.attribution.drivers import drivers as drivers
    from deepvis_caffe.attribution.result import Attribution as Attribution
    from deepvis_caffe.attribution.weight_drivers import drivers_by_weights as drivers_by_weights
    from deepvis_caffe.dataset.open_source import open_source as open_source
    from deepvis_caffe.dataset.scan import Scan as Scan
    from deepvis_caffe.dataset.scan import ScanParams as ScanParams
    from deepvis_caffe.engines.load import load_net as load_net
    from deepvis_caffe.errors import ClusterError as ClusterError
    from deepvis_caffe.errors import DeepVisError as DeepVisError
    from deepvis_caffe.errors import EngineError as EngineError
    from deepvis_caffe.errors import FetchError as FetchError
    from deepvis_caffe.errors import ImageError as ImageError
    from deepvis_caffe.errors import ModelError as ModelError
    from deepvis_caffe.errors import ResultsError as ResultsError
    from deepvis_caffe.errors import SettingsError as SettingsError
    from deepvis_caffe.errors import UnknownNameError as UnknownNameError
    from deepvis_caffe.errors import ViewerError as ViewerError
    from deepvis_caffe.errors import WeightsError as WeightsError
    from deepvis_caffe.fetch.zoo import zoo as zoo
    from deepvis_caffe.figures.sheet import side_by_side as side_by_side
    from deepvis_caffe.figures.weights import LayerWeights as LayerWeights
    from deepvis_caffe.figures.weights import layer_weights as layer_weights
    from deepvis_caffe.image import read_image as read_image
    from deepvis_caffe.image import sample_image as sample_image
    from deepvis_caffe.image import sample_images as sample_images
    from deepvis_caffe.image import write_image as write_image
    from deepvis_caffe.jobs.find_top_images import TopImages as TopImages
    from deepvis_caffe.jobs.find_top_images import top_images as top_images
    from deepvis_caffe.jobs.runs import Runs as Runs
    from deepvis_caffe.jobs.runs import load_runs as load_runs
    from deepvis_caffe.jobs.runs import optimize as optimize
    from deepvis_caffe.jobs.scan import scan_dataset as scan_dataset
    from deepvis_caffe.model.model import load_model as load_model
    from deepvis_caffe.optimizer import AscentParams as AscentParams
    from deepvis_caffe.optimizer import AscentResult as AscentResult
    from deepvis_caffe.optimizer import objectives as objectives
    from deepvis_caffe.optimizer import parameterizations as parameterizations
    from deepvis_caffe.optimizer import regularizers as regularizers
    from deepvis_caffe.optimizer import transforms as transforms
    from deepvis_caffe.results.store import ResultStore as ResultStore
    from deepvis_caffe.settings import Settings as Settings
    from deepvis_caffe.settings import load_settings as load_settings

__version__ = "0.2.0"

_MODULES = {
    name: f"optimizer.{name}"
    for name in ("objectives", "parameterizations", "regularizers", "transforms")
}

_HOMES = {
    "attribute": "attribution.attribute",
    "Attribution": "attribution.result",
    "drivers": "attribution.drivers",
    "Drivers": "attribution.driver_results",
    "drivers_by_weights": "attribution.weight_drivers",
    "open_source": "dataset.open_source",
    "scan_dataset": "jobs.scan",
    "Scan": "dataset.scan",
    "ScanParams": "dataset.scan",
    "load_net": "engines.load",
    "ClusterError": "errors",
    "DeepVisError": "errors",
    "EngineError": "errors",
    "FetchError": "errors",
    "ImageError": "errors",
    "ModelError": "errors",
    "ResultsError": "errors",
    "SettingsError": "errors",
    "UnknownNameError": "errors",
    "ViewerError": "errors",
    "WeightsError": "errors",
    "LayerWeights": "figures.weights",
    "layer_weights": "figures.weights",
    "ResultStore": "results.store",
    "zoo": "fetch.zoo",
    "side_by_side": "figures.sheet",
    "read_image": "image",
    "sample_image": "image",
    "sample_images": "image",
    "write_image": "image",
    "load_model": "model.model",
    "AscentParams": "optimizer",
    "AscentResult": "optimizer",
    "top_images": "jobs.find_top_images",
    "TopImages": "jobs.find_top_images",
    "load_runs": "jobs.runs",
    "optimize": "jobs.runs",
    "Runs": "jobs.runs",
    "Settings": "settings",
    "load_settings": "settings",
}

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
