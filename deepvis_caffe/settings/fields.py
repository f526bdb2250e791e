"""The settings themselves: names, types, defaults, and what each one means.

Each field is also a flag of the command line and an entry of `settings_local.py.template`; both
show its description. Every field also accepts a string, as a flag passes it.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sized
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.config import JsonDict
from pydantic_core import ErrorDetails

from deepvis_caffe.errors import SettingsError, did_you_mean
from deepvis_caffe.limits import (
    LARGEST_MEGAPIXELS,
    LONGEST_SETTING,
    MEGAPIXELS,
    SETTING_VALUES,
)
from deepvis_caffe.settings.mistakes import ONE_COMMA, control_characters

MODEL, OPTIMIZER, DATASET = "Model", "Optimizer", "Dataset"
RUNNING, VIEWER = "Running", "Viewer"

TUPLES = (  # settings that may be tuples
    *("mean", "channel_swap", "picture_channels", "input_shape", "stages", "source", "window"),
    *("python_layers", "resize_to"),
)
PRESET_NAME = r"[A-Za-z][\w.-]*"


def _parse_numbers(value: Any) -> Any:
    """``"104,117,123"``, with or without brackets, as a tuple; anything else unchanged."""
    if hasattr(value, "ravel"):  # an array
        return tuple(value.ravel().tolist())
    if isinstance(value, range):
        return tuple(value)
    if isinstance(value, tuple | list) and [type(part) for part in value] == [str]:
        raise ValueError(ONE_COMMA)
    if not isinstance(value, str):
        return value
    try:
        return tuple(float(part) for part in re.split(r"[\s,;]+", value.strip(" ()[],")))
    except ValueError:
        return value


def _parse_mean(value: Any) -> Any:
    """Like `_parse_numbers`; a single number holds for every channel."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (value,) if number else _parse_numbers(value)


def _check_length(value: Any, levels: int = 3) -> None:
    """Reject very large values: each element may take a hundred bytes and an error message."""
    if hasattr(value, "__next__"):
        raise ValueError("it should be a list or a tuple, not an iterator")
    if isinstance(value, str | bytes):
        if len(value) > LONGEST_SETTING:
            raise ValueError(f"it should be at most {LONGEST_SETTING:,} characters long")
        return
    count = getattr(value, "size", 0) if hasattr(value, "ravel") else 0
    count = len(value) if isinstance(value, Sized) and not count else count
    if isinstance(count, int) and count > SETTING_VALUES:
        raise ValueError(f"it should have at most {SETTING_VALUES:,} values, but has {count:,}")
    if levels and isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            _check_length(item, levels - 1)


def _parse_size(value: Any) -> Any:
    """``"256,320"`` as a tuple, and one number as both sides; anything else unchanged."""
    if isinstance(value, int):
        return value, value
    value = _parse_numbers(value)
    return value * 2 if isinstance(value, tuple) and len(value) == 1 else value


def _parse_shapes(value: Any) -> Any:
    """``"data:1,3,227,227;info:1,8"`` as a mapping; without names, one shape."""
    if not isinstance(value, str) or ":" not in value:
        return _parse_numbers(value)
    named = (part.partition(":") for part in value.split(";") if part.strip())
    return {blob.strip(): _parse_numbers(shape) for blob, _, shape in named}


def _parse_names(value: Any) -> Any:
    """``"deploy,val"`` as a tuple, None as an empty one; anything else unchanged."""
    if not isinstance(value, str):
        return () if value is None else value
    return tuple(part.strip() for part in value.strip(" ()[]").split(",") if part.strip())


def _parse_inputs(value: Any) -> Any:
    """``"mask:1;other:image;more:x.npy"`` as a mapping, None as an empty one; else unchanged."""
    if not isinstance(value, str):
        return {} if value is None else value
    named = (part.partition(":") for part in value.split(";") if part.strip())
    found: dict[str, Any] = {}
    for blob, colon, text in named:
        if not colon:
            raise ValueError("it should name inputs, as in mask:1;other:image")
        try:
            found[blob.strip()] = float(text)
        except ValueError:
            found[blob.strip()] = text.strip()
    return found


def _parse_layers(value: Any) -> Any:
    """``"pool1:conv1;prob:fc8"`` as a mapping, None as an empty one; anything else unchanged."""
    if not isinstance(value, str):
        return {} if value is None else value
    named = [part.partition(":") for part in value.split(";") if part.strip()]
    if not all(colon and layer.strip() and other.strip() for layer, colon, other in named):
        raise ValueError("it should name layers in pairs, as in pool1:conv1;prob:fc8")
    return {layer.strip(): other.strip() for layer, _, other in named}


def _parse_count(value: Any) -> Any:
    # Pydantic strips leading zeros, and so reads "0-4" as -4.
    if isinstance(value, str) and not re.fullmatch(r"[+-]?\d+", value.strip()):
        raise ValueError("it should be a single whole number, not a list or a range")
    return value


def _parse_preset(value: Any) -> Any:
    """A number of Table 1, or a name; ``"3"`` is a number."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("it should be 1, 2, 3, 4 or the name of a preset")
    if isinstance(value, int) and not 1 <= value <= 4:
        raise ValueError("the paper's presets are 1, 2, 3 and 4; all others have names")
    if isinstance(value, str) and not re.fullmatch(PRESET_NAME, value):
        raise ValueError(
            "a preset's name is a letter, then letters, digits, dots, dashes and underscores"
        )
    return value


def _check_device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise ValueError("it should be auto, cpu, cuda, or cuda with a number, as in cuda:1")
    return value


def _parse_source(value: Any) -> Any:
    """A camera number or several sources as the string that a flag would pass."""
    if isinstance(value, str) and (wrong := control_characters(value)):
        raise ValueError(wrong)
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int | Path) and not isinstance(value, bool) else value


def _check_window(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(value) != 2 or min(value) < 1:
        raise ValueError("it should be a width and a height in pixels, as in 1280,800")
    return value


def _parse_path(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if wrong := control_characters(value):
        raise ValueError(wrong)
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"it begins with the home folder of an unknown user: {error}") from None


Location = Annotated[Path, BeforeValidator(_parse_path)]
Count = Annotated[int, BeforeValidator(_parse_count)]
PresetName = Annotated[int | str, BeforeValidator(_parse_preset)]
Device = Annotated[str, AfterValidator(_check_device)]
Integers = Annotated[tuple[int, ...], BeforeValidator(_parse_numbers)]
Size = Annotated[tuple[int, int], BeforeValidator(_parse_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(_parse_names)]
Shape = tuple[Annotated[int, Field(ge=1)], ...]
Shapes = Annotated[dict[str, Shape] | Shape, BeforeValidator(_parse_shapes)]
Inputs = Annotated[dict[str, float | Literal["image"] | Location], BeforeValidator(_parse_inputs)]
Layers = Annotated[dict[str, str], BeforeValidator(_parse_layers)]
Mean = Annotated[tuple[float, ...] | Location, BeforeValidator(_parse_mean)]


def _setting(group: str, default: Any, description: str, **limits: Any) -> Any:
    extra: JsonDict = {"group": group}
    return Field(default, description=description, json_schema_extra=extra, **limits)


def _reason(problem: ErrorDetails) -> str:
    """What is wrong with a value: our own words as they are, pydantic's in lower case."""
    own = problem.get("ctx", {}).get("error")
    return str(own) if isinstance(own, ValueError) else problem["msg"].lower()


def _shown(value: Any) -> str:
    """A value of any type for a message; a long one is shortened without writing all of it."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    short.maxtuple = short.maxlist = 12
    return short.repr(value)


class BadSettingError(SettingsError):
    """One setting is unknown, or its value is invalid.

    Attributes
    ----------
    name
        The setting, so that a caller can add where it was set.
    """

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:  # worker processes pickle it
        return type(self), (self.name, *self.args), self.__dict__


class Settings(BaseModel):
    """What to run and how: validated once, then immutable.

    Parameters
    ----------
    **values
        Any of the fields below.

    Raises
    ------
    SettingsError
        An unknown name (the message suggests the nearest known one) or an invalid value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prototxt: Location | None = _setting(
        MODEL, None, "Network definition: a deploy or train_val prototxt of any Caffe generation."
    )
    weights: Location | None = _setting(
        MODEL, None, "Trained weights: a .caffemodel or .caffemodel.h5 file."
    )
    engine: Literal["auto", "pycaffe", "torch"] = _setting(
        MODEL,
        "auto",
        "Engine that runs the net: auto (the fastest that can run it here), pycaffe or torch.",
    )
    device: Device = _setting(
        MODEL,
        "auto",
        "Device to run on: auto (a GPU if the engine finds one), cpu, cuda, or a GPU by number "
        "(cuda:1).",
    )
    threads: Count | None = _setting(
        MODEL,
        None,
        "CPU threads of each process. If not set, OMP_NUM_THREADS, or one for each core of the "
        "process's share.",
        ge=1,
    )
    precision: Literal["float32", "bfloat16", "auto"] = _setting(
        MODEL,
        "float32",
        "Data type of the torch engine: float32, bfloat16 (8 bits of precision instead of 24, and "
        "half the memory), or auto (bfloat16 where it is faster).",
    )
    mean: Mean | None = _setting(
        MODEL,
        None,
        "Mean that was subtracted from each training image: one value per channel in the net's "
        "channel order (usually BGR), such as (104, 117, 123) for most ImageNet nets; or a .npy or "
        ".binaryproto file. If not set, the mean is read from the transform_param of a train_val "
        "prototxt, if it has one.",
    )
    channel_swap: Integers | None = _setting(
        MODEL,
        None,
        "Channel order of the net's input, as indices into RGB: 2,1,0 is BGR. If not set, nets "
        "with three input channels get BGR, and others are left as they are.",
    )
    raw_scale: float = _setting(
        MODEL,
        255.0,
        "Pixel value of white before the mean is subtracted: 255, or 1 for nets trained on images "
        "scaled to 0..1.",
        gt=0,
    )
    input_scale: float | None = _setting(
        MODEL,
        None,
        "Factor applied after the mean is subtracted. If not set, the `scale` in the "
        "transform_param of a train_val prototxt, or else 1.",
        gt=0,
    )
    picture_channels: Integers | None = _setting(
        MODEL,
        None,
        "Channels of the input to show as its picture, counted from 0: three are red, green and "
        "blue; any other number is averaged and shown in gray. For inputs that are not gray or "
        "RGB. If not set, the first three.",
    )
    input_shape: Shapes | None = _setting(
        MODEL,
        None,
        "Input shape N,C,H,W, if neither the prototxt nor the weights determine it, or to override "
        "it. "
        "For several inputs, one shape per blob (as a flag: data:1,3,227,227;other:1,8).",
    )
    stages: Names = _setting(
        MODEL,
        (),
        "Stages to enable, if layers of the prototxt belong to stages, as in NVIDIA DIGITS' "
        "all-in-one files: for example deploy. If not set, deploy, if there is such a stage.",
    )
    python_layers: Names = _setting(
        MODEL,
        (),
        "Modules whose layers (type Python in the prototxt) the torch engine may run. It imports "
        "them from PYTHONPATH, which runs their code; other modules are never imported. Real Caffe "
        "needs no permission.",
    )
    image_input: str | None = _setting(
        MODEL,
        None,
        "Input that takes the image, for nets with several inputs. If not set, the first one that "
        "has the shape of an image.",
    )
    inputs: Inputs = _setting(
        MODEL,
        {},
        "Values of the other inputs: a number, a .npy file, or image for the image itself, as in "
        "the second branch of a Siamese net (as a flag: mask:1;data_p:image). Inputs not listed "
        "are 0.",
    )
    resize: Literal["crop", "stretch"] = _setting(
        MODEL, "crop", "How images are fitted to the input size: crop the center, or stretch."
    )
    resize_to: Size | None = _setting(
        MODEL,
        None,
        "Size (height, width) to which images are resized before the center crop, as in Caffe's "
        "data layers: 256,256 for a net of 227 x 227. If not set, the size from a train_val "
        "prototxt's data layer or mean file; if there is none, no such crop is made.",
    )
    labels: Location | None = _setting(
        MODEL,
        None,
        "Text file with the class names, one per line, in the order of the net's outputs; an empty "
        "line is a class without a name.",
    )
    results: Location = _setting(
        MODEL,
        Path("results"),
        "Folder for results: commands write to it, the viewer reads from it.",
    )
    preset: PresetName = _setting(
        OPTIMIZER,
        "best",
        "Preset of regularizers and transforms: best (ours), 1 to 4 (Table 1 of the "
        "paper), or the name of one saved by `deepvis search`.",
    )
    presets_file: Location = _setting(
        OPTIMIZER,
        Path("presets.json"),
        "JSON file with your own presets; by default next to the settings file.",
    )
    seeds: Count = _setting(
        OPTIMIZER, 9, "Images per unit, each from a different random start.", ge=1, le=100
    )
    iterations: Count | None = _setting(
        OPTIMIZER,
        None,
        "Gradient ascent steps per image. If not set: 300 for presets 1 to 4 with rate auto, and "
        "otherwise the preset's own number.",
        ge=1,
    )
    rate: float | Literal["auto", "paper"] = _setting(
        OPTIMIZER,
        "auto",
        "Learning rate: auto (a fixed step in gray levels, which suits any net and layer), paper "
        "(the rate of the preset), or a number.",
    )
    reproducible: bool = _setting(
        OPTIMIZER,
        False,
        "Optimize each image by itself on one thread, so that the result is the same to the last "
        "bit for any batch size and any number of workers or threads, and after resuming. CPU "
        "only, and slower, so use as many workers as there are cores.",
    )
    images: Location | None = _setting(
        DATASET,
        None,
        "Dataset to scan: a folder of images, a text file with one path (and optionally a class "
        "number) per line, a Caffe LMDB or HDF5 file, or a video.",
    )
    image_root: Location | None = _setting(
        DATASET,
        None,
        "Folder that the paths in a list of images are relative to. If not set, the list's own.",
    )
    hdf5_dataset: str | None = _setting(
        DATASET,
        None,
        "Dataset of the images in HDF5 files. If not set, `data`, or else the first one with four "
        "axes.",
    )
    max_megapixels: float = _setting(
        DATASET,
        MEGAPIXELS,
        "Largest image to read, in millions of pixels (height times width). A scan skips and "
        "counts larger images; elsewhere they are an error.",
        gt=0,
        le=LARGEST_MEGAPIXELS,
    )
    top: Count = _setting(DATASET, 9, "Number of top images to keep per unit.", ge=1, le=100)
    batch_size: Count | None = _setting(
        RUNNING, None, "Images per batch. If not set, a suitable size is chosen.", ge=1
    )
    workers: Count = _setting(
        RUNNING,
        1,
        "Number of local processes that share the work. Each loads the net, and runs on its share "
        "of the CPU cores or on its own GPU. With 1, top-images may still start one per core for "
        "2048 images or more on a CPU.",
        ge=1,
    )
    scheduler: str | None = _setting(
        RUNNING,
        None,
        "Address of a Dask scheduler, such as tcp://10.0.0.1:8786, whose workers share the work. "
        "Takes precedence over `workers`.",
    )

    source: Annotated[str, BeforeValidator(_parse_source)] | None = _setting(
        VIEWER,
        None,
        "Input of the viewer: a camera number or device, a video, a URL, an image, a folder of "
        "images, or several of these separated by commas. If not set, camera 0, or the sample "
        "photographs of scikit-image if there is no camera.",
    )
    window: Annotated[Integers, AfterValidator(_check_window)] = _setting(
        VIEWER, (1280, 800), "Initial size of the viewer window: width, height in pixels."
    )
    box_score: float = _setting(
        VIEWER,
        0.3,
        "The viewer draws a detector's boxes that score higher than this.",
        ge=0,
        le=1,
    )
    pictures_from: Layers = _setting(
        VIEWER,
        {},
        "Layers whose units, if they have no pictures of their own, show those of another layer's "
        "units in the viewer and the gallery (as a flag: prob:fc8;pool1:conv1). Units of "
        "concatenation, ReLU and pooling layers do so without being listed.",
    )
    layer_names: Layers = _setting(
        VIEWER,
        {},
        "Shorter names for layers in the viewer's list of layers (as a flag: "
        "inception_3a/output:3a).",
    )

    def __init__(self, **values: Any) -> None:
        fields = type(self).model_fields
        for name in values:
            if name not in fields:
                hint = did_you_mean(name, fields)
                raise BadSettingError(name, f"no setting named {name!r}{hint}")
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = error.errors()
            name = str(problems[0]["loc"][0])
            reasons = dict.fromkeys(_reason(p) for p in problems if p["loc"][0] == name)
            raise BadSettingError(
                name,
                f"{name} cannot be {_shown(values[name])}: {', or '.join(reasons)} "
                f"({(fields[name].description or '').rstrip('.')})",
            ) from None

    @field_validator("*", mode="before")
    @classmethod
    def _none(cls, value: Any, info: ValidationInfo) -> Any:
        """Turn the `none` of a flag into None; reject values that are too long."""
        _check_length(value)
        if isinstance(value, tuple) and len(value) == 1 and info.field_name not in TUPLES:
            raise ValueError(ONE_COMMA)
        return None if isinstance(value, str) and value.lower() in ("", "none") else value
