"""Shape rules of recurrent layers, and of layers that prepare their bottoms."""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.model.schema_pb2 import LayerParameter
from deepvis_caffe.model.shapes.registry import Outcome, Shape, count, require, rule


@rule("LSTM", "RNN", bottoms=(2, 5), tops=(1, 3), in_place=False)
def recurrent(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """(T, N, ...) and flags (T, N) to (T, N, num_output).

    A static input (N, ...) may follow. With `expose_hidden` the initial states follow as bottoms,
    and the final ones are tops, (1, N, num_output) each: h for an RNN; h and c for an LSTM.

    Weights are W_x and bias, W of the static input, W_h, and for an RNN also W and bias of its
    output. An LSTM's have its four gates stacked: input, forget, output, candidate.
    """
    options = param.recurrent_param
    size, states = options.num_output, 2 if param.type == "LSTM" else 1
    exposed = states if options.expose_hidden else 0
    x, flags = bottoms[:2]
    require(size > 0, "num_output must be given and positive")
    require(len(x) >= 2, "takes a bottom of 2 or more axes, (T, N, ...)")
    require(flags == x[:2], f"its second bottom must be (T, N) = {x[:2]}")
    require(
        len(bottoms) in (2 + exposed, 3 + exposed),
        f"takes {2 + exposed} or {3 + exposed} bottoms, got {len(bottoms)}",
    )
    require(len(param.top) == 1 + exposed, f"takes {1 + exposed} tops, got {len(param.top)}")
    static = bottoms[2] if len(bottoms) == 3 + exposed else None
    if static is not None:
        require(static[:1] == x[1:2], f"its static bottom must be ({x[1]}, ...)")
    for state in bottoms[len(bottoms) - exposed :] if exposed else ():
        require(state == (1, x[1], size), f"states must be {(1, x[1], size)}")
    gates = 4 * size if param.type == "LSTM" else size
    weights: list[Shape] = [(gates, count(x[2:])), (gates,)]
    weights += [(gates, count(static[1:]))] if static is not None else []
    weights += [(gates, size)]
    weights += [] if param.type == "LSTM" else [(size, size), (size,)]
    return Outcome([(*x[:2], size)] + [(1, x[1], size)] * exposed, weights)


@rule("Lstm", bottoms=(1, 2), in_place=False)
def packed_lstm(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """(T * N, ...), with N = `batch_size`, to (T * N, num_output); flags (T * N) may follow.

    Weights are W_x, W_h and the bias, with the four gates stacked as in an LSTM.
    """
    options, x = param.lstm_param, bottoms[0]
    size, images = options.num_output, options.batch_size
    require(size > 0, "num_output must be given and positive")
    require(images > 0 and len(x) > 0, "batch_size must be positive, and its bottom needs an axis")
    require(x[0] % images == 0, f"its bottom's {x[0]} rows are no multiple of batch_size {images}")
    if len(bottoms) == 2:
        require(count(bottoms[1]) == x[0], f"its second bottom must have {x[0]} values")
    return Outcome([(x[0], size)], [(4 * size, count(x[1:])), (4 * size, size), (4 * size,)])


@rule("ContinuationIndicator", bottoms=(0, 0))
def continuation_indicator(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """(time_step, batch_size)."""
    options = param.continuation_indicator_param
    require(
        options.time_step > 0 and options.batch_size > 0,
        "time_step and batch_size must be given and positive",
    )
    return Outcome([(options.time_step, options.batch_size)])
