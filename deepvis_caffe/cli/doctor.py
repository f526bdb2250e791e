"""``deepvis doctor``: check everything that the other commands need, and say how to fix it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from deepvis_caffe.cli.fetch import write_new
from deepvis_caffe.cli.flags import with_settings
from deepvis_caffe.cli.hints import command
from deepvis_caffe.errors import DeepVisError, ImageError, SettingsError, WeightsError
from deepvis_caffe.resources import pip_install
from deepvis_caffe.settings import Settings, find_settings_file
from deepvis_caffe.settings.fields import MODEL
from deepvis_caffe.settings.file import FILE_NAME, VARIABLE, template_text

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.graph import Layer

MOST_MEANS = 4  # channels whose mean is printed
Status = Literal["ok", "note", "warn", "fail"]  # note: something optional is missing
COLOURS: dict[Status, str | None] = {
    "ok": typer.colors.GREEN,
    "note": None,
    "warn": typer.colors.YELLOW,
    "fail": typer.colors.RED,
}


class Check(NamedTuple):
    """One line of the doctor's report."""

    status: Status
    what: str
    message: str


@with_settings(MODEL, load=False)
def doctor(
    read: Callable[[], Settings],
    path: Path | None,
    write_settings: Annotated[
        bool,
        typer.Option(
            "--write-settings", help=f"Write a new ./{FILE_NAME} for you to edit, and exit."
        ),
    ] = False,
    keys: Annotated[
        bool,
        typer.Option(
            "--keys", help="Open a window, print the code of each key you press, and exit."
        ),
    ] = False,
) -> None:
    """Check the settings, the model and the engines, and explain how to fix problems.

    Reads the prototxt, weights, mean and labels, runs one forward pass, and checks the results
    folder and the viewer's source. Exits with code 1 if a check fails.
    """
    if keys:
        from deepvis_caffe.viewer.window.key_test import run_key_test

        run_key_test(typer.echo)
        return
    if write_settings:
        if not write_new(Path(FILE_NAME), template_text()):
            raise SettingsError(f"{Path(FILE_NAME).absolute()} already exists and was not changed")
        typer.echo(f"wrote {FILE_NAME}; edit it, then try: {command('doctor')}", err=True)
        return
    failed = False
    for check in checks(read, path):
        failed |= check.status == "fail"
        typer.secho(f"{check.status:5}", fg=COLOURS[check.status], nl=False)
        typer.echo(f"{check.what:10}{check.message}")
    if failed:
        raise typer.Exit(1)


def checks(read: Callable[[], Settings], path: Path | None) -> Iterator[Check]:
    """Run every check in order; checks of the model only if the settings name one."""
    try:
        settings, found = read(), find_settings_file(path)
    except DeepVisError as error:
        yield Check("fail", "settings", str(error))
        settings, found = Settings(), None
    else:
        if found is not None:
            yield Check("ok", "settings", str(found))
        elif settings.prototxt is None:
            yield Check("warn", "settings", _no_settings())
        else:
            yield Check("ok", "settings", "no settings file; taken from the flags")
    yield from check_engines(settings)
    yield from check_model(settings)
    yield check_results(settings.results)
    yield from check_source(settings)


def check_engines(settings: Settings) -> Iterator[Check]:
    """Which engines can be imported, and which one will be used, on which device."""
    from deepvis_caffe.engines.load import choose_engine, load_layers
    from deepvis_caffe.engines.pycaffe.library import import_caffe

    try:
        import_caffe()
        yield Check("ok", "pycaffe", "can be imported")
    except DeepVisError as error:
        status: Status = "fail" if settings.engine == "pycaffe" else "note"
        yield Check(status, "pycaffe", str(error))
    if find_spec("torch"):
        import torch

        gpu = f"GPU {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "no GPU"
        yield Check("ok", "torch", f"{torch.__version__}, {gpu}")
    else:
        status = "fail" if settings.engine == "torch" else "note"
        yield Check(status, "torch", f"is not installed: {pip_install('torch')}")
    layers: Iterable[Layer] = ()
    if settings.prototxt:
        with suppress(DeepVisError):  # the model's own check reports it
            layers = load_layers(settings).graph
    try:
        choice = choose_engine(settings.engine, settings.device, layers)
        yield Check("ok", "engine", f"{settings.engine}: {choice}")
    except DeepVisError as error:
        yield Check("fail", "engine", str(error))


def check_model(settings: Settings) -> Iterator[Check]:
    """Prototxt, weights, mean and labels: each by itself, then together in one forward pass."""
    from deepvis_caffe.engines.load import load_net
    from deepvis_caffe.model.prototxt import read_prototxt

    if settings.prototxt is None:
        yield Check("warn", "prototxt", "none is set, so there is no model to check")
        return
    try:
        layers = read_prototxt(settings.prototxt).layer
        yield Check("ok", "prototxt", f"{settings.prototxt}: {len(layers)} layers")
    except DeepVisError as error:
        yield Check("fail", "prototxt", str(error))
        return
    try:
        net = load_net(settings.model_copy(update={"labels": None}))  # checked last
        trained = settings.weights is not None
    except WeightsError as error:
        yield Check("fail", "weights", f"{error}. The remaining checks use random weights")
        trained = False
        try:
            net = _with_random_weights(settings)
        except DeepVisError as other:
            yield Check("fail", _faulty_setting(other), str(other))
            return
    except DeepVisError as error:
        yield Check("fail", _faulty_setting(error), str(error))
        return
    for name, shape in net.inputs.items():
        what = ""
        if held := net.model.held.get(name):
            what = f": {'holds' if held.is_image else 'held at'} {held.what}"
        elif len(net.inputs) > 1:
            what = ": the image"
        yield Check("ok", "input", f"{name} {' x '.join(map(str, shape))}{what}")
    if settings.weights is None and not net.model.weight_shapes:
        yield Check("note", "weights", "none are set, and no layer has weights")
    elif trained:
        count = sum(layer.weights for layer in net.layers)
        yield Check("ok", "weights", f"{settings.weights}: {count:,} values, all matched")
    yield from _check_layers(net)
    yield _check_mean(net, settings)
    yield _check_forward(net)
    yield _check_labels(net, settings)


def _with_random_weights(settings: Settings) -> Net:
    """The net that the settings name, with random weights."""
    import numpy as np

    from deepvis_caffe.engines.load import load_layers, load_net
    from deepvis_caffe.model.fillers import random_weights
    from deepvis_caffe.model.shapes import infer

    model = load_layers(settings)
    shapes = infer(model.graph, model.input_shapes, faults={})
    weights = random_weights(shapes, model.graph, np.random.default_rng(0))
    return load_net(settings.model_copy(update={"weights": weights, "labels": None}))


def _faulty_setting(error: DeepVisError) -> str:
    """The setting that caused an error of `load_net`."""
    names = {"WeightsError": "weights", "ImageError": "mean", "EngineError": "engine"}
    return names.get(type(error).__name__, "prototxt")


def _check_layers(net: Net) -> Iterator[Check]:
    """Which layers cannot run, and whether the images of a batch are independent."""
    from deepvis_caffe.engines.load import opaque_lines
    from deepvis_caffe.model.batch import why_mixed
    from deepvis_caffe.model.rows import without_units

    lines = opaque_lines(net.opaque)
    running = len(net.opaque.running)
    if lines:
        for line in lines:
            yield Check("warn", "layers", f"{line}; everything that does not depend on it works")
    else:
        yield Check("ok", "layers", f"all {running} can run")
    skipped = without_units(net.model.graph)  # boxes: their number varies by image
    values = [value for value in net.opaque.output_values if value not in skipped]
    mixed = {why for value in values if (why := why_mixed(net.model, value))}
    for why in sorted(mixed):
        yield Check(
            "warn",
            "batch",
            f"images are run one at a time, because images in a batch affect each other: {why}",
        )


def _check_mean(net: Net, settings: Settings) -> Check:
    from deepvis_caffe.engines.preprocessing_checks import (
        NO_MEAN,
        differs_from_training,
        wants_mean,
    )

    try:
        p = net.preprocessor
    except ImageError as error:
        return Check("warn", "mean", str(error))
    if p.mean_doubt:
        return Check("warn", "mean", p.mean_doubt)
    if differs := differs_from_training(net.model, p):
        return Check("warn", "mean", differs)
    averages = -p.low.mean(axis=(1, 2)) / p.input_scale
    if not averages.any():
        if settings.mean is None and wants_mean(net.model, p):
            return Check("warn", "mean", NO_MEAN)
        return Check("ok", "mean", f"none is subtracted; pixels range from 0 to {p.raw_scale:g}")
    values = ", ".join(f"{value:.6g}" for value in averages[:MOST_MEANS])
    more = f" ... of {len(averages)} channels" if len(averages) > MOST_MEANS else ""
    return Check("ok", "mean", f"{values}{more} on average, in the net's channel order")


def _check_forward(net: Net) -> Check:
    import time

    import numpy as np

    image = net.image_input()
    x = np.zeros((1, *net.inputs[image][1:]), np.float32)
    inputs = {image: x, **net.other_inputs(x)}
    begun = time.perf_counter()
    try:
        outputs = net.forward(inputs)
    except DeepVisError:
        declared = {name: np.zeros(shape, np.float32) for name, shape in net.inputs.items()}
        try:
            outputs = net.forward(declared)
        except DeepVisError as error:
            return Check("fail", "forward", str(error))
        sizes = ", ".join(f"{name} {' x '.join(map(str, s))}" for name, s in net.inputs.items())
        return Check(
            "warn", "forward", f"runs only at the declared sizes ({sizes}), not on a single image"
        )
    took = f"{1000 * (time.perf_counter() - begun):.0f} ms on {net.engine}, {net.device}"
    bad = [name for name, values in outputs.items() if not np.isfinite(values).all()]
    if bad:
        return Check("fail", "forward", f"NaN or infinity in {', '.join(bad)} for a gray image")
    return Check("ok", "forward", f"one image in {took}; outputs {', '.join(outputs)}")


def _check_labels(net: Net, settings: Settings) -> Check:
    from deepvis_caffe.engines.detections import detector
    from deepvis_caffe.model.labels import fit_labels, read_labels

    if settings.labels is None:
        return Check("ok", "labels", "none are set; units are identified by number")
    try:
        labels = read_labels(settings.labels)
    except DeepVisError as error:
        return Check("fail", "labels", str(error))
    fitting = fit_labels(labels, map(net.shapes.get, net.class_values))
    boxes = detector(net)
    if fitting is None and boxes and boxes.fits(labels):
        fitting = labels
    if fitting is None:
        return Check(
            "warn",
            "labels",
            f"{settings.labels} has {len(labels)} names, but no output has that many units",
        )
    return Check("ok", "labels", f"{settings.labels}: {len(fitting)} names")


def check_results(folder: Path) -> Check:
    """Whether results can be written; leaves no file behind."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Check("ok", "results", f"{folder.absolute()} can be written")
    except OSError as error:
        return Check(
            "fail",
            "results",
            f"{folder.absolute()} cannot be written ({error.strerror}); set `results` to another "
            "folder",
        )


def check_source(settings: Settings) -> Iterator[Check]:
    """Whether the viewer's sources exist, and its cameras open."""
    from deepvis_caffe.viewer.sources.capture import Camera, open_capture
    from deepvis_caffe.viewer.sources.open_source import parse_sources

    try:
        sources = parse_sources(settings.source, settings.max_megapixels)
    except DeepVisError as error:
        yield Check("warn", "source", str(error))
        return
    if settings.source is not None:
        yield Check("ok", "source", settings.source)
    for source in sources:
        if isinstance(source, Camera):
            capture = open_capture(source.device)
            if capture is not None:
                capture.release()
                yield Check("ok", "camera", f"{source.name} opens")
            else:
                without = f"to view images without one: {command('view', 'photo.jpg')}"
                yield Check(
                    "note" if settings.source is None else "warn",
                    "camera",
                    f"{source.name} does not open; {without}",
                )


def _no_settings() -> str:
    own = command("doctor", "--write-settings")
    ready = command("fetch", "squeezenet", "--write-settings")
    return (
        f"no settings: neither --settings nor ${VARIABLE} nor ./{FILE_NAME}. To write a file to "
        f"edit: {own}; for a model that is ready to run: {ready}"
    )
