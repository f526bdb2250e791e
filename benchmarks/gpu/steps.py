"""Image-steps per second of an ascent: by net, precision, batch, CUDA graphs; and a profile.

Run by `python -m benchmarks.gpu`. The ascent is that of `deepvis_caffe.optimizer.ascent` with
preset 3 and the automatic rate, on whole images and classes, with random weights. Its first 24
steps are not timed.
"""

from __future__ import annotations

import dataclasses
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.common import REHEARSAL, gpu, seconds_left, write
from benchmarks.gpu.nets import BFLOAT16, FLOAT32, LAYERS, TF32, Way, images, running
from deepvis_caffe.engines.torch import net as torch_net
from deepvis_caffe.engines.torch.layers.convolution import ImageConvolution
from deepvis_caffe.optimizer.ascent import ascend
from deepvis_caffe.optimizer.batch_info import BatchInfo
from deepvis_caffe.optimizer.readers import TargetBatch, TargetReader
from deepvis_caffe.optimizer.run import ascent_params

WARM, TIMED = (1, 2) if REHEARSAL else (24, 40)
BATCHES = (2,) if REHEARSAL else (128, 512, 32, 256, 64)
ALL_IMAGES = 1000 * 9 * 500  # image-steps of all classes of ImageNet, 9 seeds, 500 steps
# The most important ones first: time may run out.
WAYS = (
    Way(FLOAT32),
    Way(TF32),
    Way(BFLOAT16),
    Way(FLOAT32, graphs=True),
    Way(TF32, graphs=True),
    Way(BFLOAT16, graphs=True),
    Way(TF32, channels_last=True, graphs=True),
    Way(BFLOAT16, channels_last=True, graphs=True),
    Way(TF32, channels_last=True, graphs=True, tuned=True),
    Way(FLOAT32, channels_last=True, graphs=True, tuned=True),
)


def main() -> None:
    properties = torch.cuda.get_device_properties(0)
    write(
        "steps",
        "device",
        name=properties.name,
        capability=list(torch.cuda.get_device_capability(0)),
        memory_gib=round(properties.total_memory / 2**30, 1),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
    )
    with Utilization() as used:
        selection_against_sorting()
        convolutions_with_relu()
        for number, (name, layer, way, batches) in enumerate(plan()):
            if seconds_left() < 6:
                write("steps", "left out", net=name, way=str(way), why="no time was left")
                continue
            try:
                with running(name, way, "cuda") as net:
                    for batch in batches:
                        if seconds_left() > 4:
                            measure(net, name, layer, way, batch, used)
                    if number == 0:
                        profile(net, layer, batches[0])
                        flops(net, name, layer)
            except Exception as error:  # one way may fail in any manner; continue with the others
                said = f"{type(error).__name__}: {error}"[:400]
                write("steps", "failed", net=name, way=str(way), why=said)
            torch.cuda.empty_cache()


def plan() -> Iterator[tuple[str, str, Way, tuple[int, ...]]]:
    """Net, layer, way and batches, in the order in which they are measured."""
    first, second = LAYERS.items()
    ways = WAYS[:4] if REHEARSAL else WAYS
    for way in ways[:4]:
        yield *first, way, BATCHES
    yield *second, ways[0], BATCHES[:2]
    for way in ways[4:]:
        yield *first, way, BATCHES[:3]
    for way in ways[1:2] if REHEARSAL else ways[1:]:
        yield *second, way, BATCHES[:2]


def measure(net: Any, name: str, layer: str, way: Way, batch: int, used: Utilization) -> None:
    """Time the middle steps of an ascent, and its start and end."""
    stamps: dict[int, float] = {}

    def after_step(t: int, x: Any) -> bool:
        if t in (WARM - 1, WARM + TIMED - 1):
            torch.cuda.synchronize()
            stamps[t] = time.monotonic()
        return True

    began = time.monotonic()
    run(net, layer, batch, WARM + TIMED + 1, after_step)
    torch.cuda.synchronize()
    total = time.monotonic() - began
    first, last = stamps[WARM - 1], stamps[WARM + TIMED - 1]
    rate = batch * TIMED / (last - first)
    write(
        "steps",
        "rate",
        net=name,
        layer=layer,
        way=str(way),
        batch=batch,
        image_steps_a_second=round(rate, 1),
        ms_a_step=round(1000 * (last - first) / TIMED, 3),
        rest_of_the_batch_s=round(total - (last - first), 2),
        hours_for_all_classes=round(ALL_IMAGES / rate / 3600, 3),
        gpu_percent=used.mean(first, last),
        memory_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2),
        **_passes(net, layer, batch),
    )
    torch.cuda.reset_peak_memory_stats()


def run(
    net: Any, layer: str, batch: int, steps: int, after_step: Callable[[int, Any], bool]
) -> None:
    """An ascent of `batch` images, one class each."""
    params = dataclasses.replace(ascent_params(3), iterations=steps)
    start = net.model.graph.gradient_start(layer)
    shape = tuple(net.shapes[start][1:])
    units = [i % shape[0] for i in range(batch)]
    target = TargetBatch(net.ops, units, shape, tuple(size // 2 for size in shape[1:]))
    info = BatchInfo(net.ops, net.preprocessor, steps, [0] * batch, units)
    tracks = ascend(info, TargetReader(net, layer, target), images(net, batch), params, after_step)
    finished = sum(track.stop == "finished" for track in tracks)
    if finished < batch:
        write("steps", "warning", text=f"{batch - finished} of {batch} images ended early")


def _passes(net: Any, layer: str, batch: int) -> dict[str, float]:
    """Milliseconds of the net's forward and backward pass alone."""
    x = net.ops.asarray(images(net, batch))
    diff = torch.zeros_like(net.evaluate(x, layer))
    diff[:, 1] = 1
    repeats = 1 if REHEARSAL else 10

    def both() -> None:
        net.evaluate(x, layer)
        net.input_gradient(diff)

    mean_ms(both, repeats)
    return {"ms_net_alone": round(mean_ms(both, repeats), 3)}


def mean_ms(call: Callable[[], Any], repeats: int) -> float:
    """Mean milliseconds of a call on the GPU."""
    torch.cuda.synchronize()
    began = time.monotonic()
    for _ in range(repeats):
        call()
    torch.cuda.synchronize()
    return 1000 * (time.monotonic() - began) / repeats


def profile(net: Any, layer: str, batch: int) -> None:
    """Where a step's time goes: the profiler's table, by kernel or operator."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    run(net, layer, batch, 2, lambda t, x: True)
    with torch.profiler.profile(activities=activities) as profiler:
        run(net, layer, batch, 2 if REHEARSAL else 8, lambda t, x: True)
        torch.cuda.synchronize()
    by = "self_cuda_time_total"
    table = profiler.key_averages().table(sort_by=by, row_limit=30, max_name_column_width=60)
    write("steps", "profile", layer=layer, batch=batch, table=table)


def flops(net: Any, name: str, layer: str) -> None:
    """Operations of convolutions and matrix products for one image, forward and gradient."""
    with FlopCounterMode(display=False) as counter:
        value = net.evaluate(net.ops.asarray(images(net, 1)), layer)
        net.input_gradient(torch.ones_like(value))
    write("steps", "flops", net=name, gflop=round(counter.get_total_flops() / 1e9, 3))


def selection_against_sorting() -> None:
    """Time each image's percentile by selection, as in the ascent, and by sorting."""
    batch = 2 if REHEARSAL else 256
    rows = torch.rand((batch, 227 * 227), device="cuda")
    middle = rows.shape[1] // 2
    found: dict[str, float] = {}
    for way, call in {
        "two_selections_ms": lambda: [rows.kthvalue(middle + i, dim=1) for i in (0, 1)],
        "sort_ms": lambda: rows.sort(dim=1),
    }.items():
        call()
        found[way] = round(mean_ms(call, 3), 3)
    write("steps", "percentile", batch=batch, **found)


def convolutions_with_relu() -> None:
    """Time SqueezeNet's convolutions that a ReLU follows, in one kernel of cuDNN's and in two.

    The engine uses two: one kernel would save an eighth of what a step moves, if it is as fast.
    """
    batch = 2 if REHEARSAL else 128
    name = next(iter(LAYERS))
    for precision in (FLOAT32, TF32, BFLOAT16):
        try:
            with running(name, Way(precision), "cuda") as net:
                found = _with_relu(net, batch)
        except Exception as error:  # cuDNN may have no kernel for a type
            found = {"not_run": f"{type(error).__name__}: {error}"[:200]}
        write("steps", "conv + ReLU", precision=precision, batch=batch, **found)


def _with_relu(net: Any, batch: int) -> dict[str, Any]:
    """Milliseconds of all of them in two kernels and in one, and the largest difference."""
    layers = [one for one in net.module.layers if isinstance(one, ImageConvolution)]
    taken = {"two_kernels_ms": 0.0, "one_kernel_ms": 0.0}
    apart = 0.0
    for layer in layers:
        window = layer.window
        shape = batch, *net.shapes[layer.layer.bottoms[0]][1:]
        x = torch.randn(shape, device="cuda").to(layer.weight.dtype)
        options = window.stride, window.pad, window.dilation, layer.group

        def two(x: Tensor = x, layer: Any = layer, options: Any = options) -> Tensor:
            return torch.conv2d(x, layer.weight, layer.bias, *options).clamp_(min=0)

        def one(x: Tensor = x, layer: Any = layer, options: Any = options) -> Tensor:
            return torch.cudnn_convolution_relu(x, layer.weight, layer.bias, *options)

        with torch_net.full_precision(x.device), torch.no_grad():
            apart = max(apart, float((two() - one()).abs().max()))
            for key, call in zip(taken, (two, one), strict=True):
                taken[key] += mean_ms(call, 1 if REHEARSAL else 10)
    return {**{key: round(ms, 3) for key, ms in taken.items()}, "largest_difference": apart}


class Utilization:
    """GPU utilization, sampled with nvidia-smi four times per second."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Utilization:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        try:
            self._process = subprocess.Popen(
                [*command, "-lms", "250"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            return self
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def mean(self, begin: float, end: float) -> float | None:
        """Mean percent between two times; None without samples."""
        seen = [percent for when, percent in self._seen if begin <= when <= end]
        return round(float(np.mean(seen)), 1) if seen else None

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip().isdigit():
                self._seen.append((time.monotonic(), float(line)))


if __name__ == "__main__":
    with gpu():
        main()
