"""Programs for hypothesis: what users do with a net, in any order that real Caffe survives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from helpers.caffe_programs import Left, Program, program
from helpers.drawn_nets import DrawnNet


class Writer:
    """Writes a program, a few lines at a time.

    After inputs were reshaped, a backward pass or a forward pass from the middle would read what
    belongs to the old size, so both wait for the next whole forward pass.

    Parameters
    ----------
    draw
        Hypothesis's.
    net
        The net.
    facts
        What real Caffe's process said of the net just made.
    """

    def __init__(self, draw: Callable, net: DrawnNet, facts: Left) -> None:
        self.draw = draw
        self.net = net
        state = facts["nets"]["net"]
        self.layers: list[str] = state["layers"]
        self.outputs: list[str] = state["outputs"]
        self.params = {name: len(v) for name, v in state["param data"]["dict"].items()}
        self.axes = {name: len(array["shape"]) for name, array in state["data"]["dict"].items()}
        self.batch = state["data"]["dict"]["data"]["shape"][0]
        targets = [name for name, maker in net.inputs.items() if not maker.startswith("like")]
        self.free = [name for name in state["blobs"] if not name.startswith(tuple(targets))]
        self.lines = [f"net = caffe.Net('net.prototxt', caffe.{net.phase})"]
        self.lines += [f"randomize(net, seed={self.seed()})"]
        self.views: list[str] = []
        self.is_whole = False  # every layer has run since the shapes last changed
        self.is_settled = True  # every blob has the shape that follows from the inputs

    def seed(self) -> int:
        return self.draw(st.integers(0, 9))

    def pick(self, values: Any) -> Any:
        return self.draw(st.sampled_from(list(values)))

    def write(self) -> Program:
        """The whole program."""
        self.fill_inputs()
        steps = [
            self.forward,
            self.forward_part,
            self.forward_with_inputs,
            self.forward_all,
            self.write_blob,
            self.write_blob,
            self.write_through_a_view,
            self.write_param,
            self.backward,
            self.backward,
            self.backward_part,
            self.backward_part,
            self.backward_from_diffs,
            self.clear_param_diffs,
            self.reshape,
            self.save_and_load,
            self.second_net,
            self.mistake,
        ]
        for _ in range(self.draw(st.integers(3, 12))):
            self.pick(steps)()
        looks = None if self.draw(st.booleans()) else [len(self.lines) - 1]
        return program(*self.lines, looks=looks, net=self.net.text)

    def values(self, name: str) -> str:
        """An expression for values of an input."""
        return self.net.inputs[name].format(blob=f"net.blobs['{name}']", seed=self.seed())

    def array(self) -> str:
        """A blob's data or diff, or part of one, as an expression that can be written."""
        blob = self.pick(self.free)
        what = self.pick(["data", "diff"])
        part = self.pick(["...", "0", "..., 0", "..., ::2"] if self.axes[blob] else ["..."])
        return f"net.blobs['{blob}'].{what}[{part}]"

    def fill_inputs(self) -> None:
        for name in self.net.inputs:
            self.lines.append(f"net.blobs['{name}'].data[...] = {self.values(name)}")

    def forward(self) -> None:
        call = self.pick(
            [
                "net.forward()",
                "out = net.forward()",
                f"net.forward(blobs=['{self.pick(self.axes)}'])",
                f"net.forward(['{self.pick(self.axes)}', '{self.pick(self.axes)}'])",
                f"net._forward(0, {len(self.layers) - 1})",
            ]
        )
        self.lines.append(call)
        self.is_whole = self.is_settled = True

    def forward_part(self) -> None:
        if not self.is_settled:
            return
        start, end = self.pick(self.layers), self.pick(self.layers)
        call = self.pick([f"end='{end}'", f"start='{start}'", f"start='{start}', end='{end}'"])
        self.lines.append(f"net.forward({call})")

    def forward_with_inputs(self) -> None:
        inputs = ", ".join(f"{name}={self.values(name)}" for name in self.net.inputs)
        self.lines.append(f"net.forward({inputs})")
        self.is_whole = self.is_settled = True

    def forward_all(self) -> None:
        if all(self.axes[name] for name in self.outputs):  # it asks for a first axis
            name, *others = self.net.inputs
            if not others:
                rest = f"*list(net.blobs['{name}'].shape)[1:]"
                count = self.draw(st.integers(1, 4))
                self.lines.append(f"net.forward_all({name}=noise({count}, {rest}, seed=1))")
                self.is_whole = self.is_settled = True

    def write_blob(self) -> None:
        line = self.pick(["{} = {}", "{} *= -0.5", "{} += 1", "{} = 0"])
        self.lines.append(line.format(self.array(), f"noise(1, seed={self.seed()})"))

    def write_through_a_view(self) -> None:
        if self.views and self.draw(st.booleans()):
            view = self.pick(self.views)
            self.lines.append(self.pick([f"{view} *= 0.5", f"{view}[...] += noise(1, seed=1)"]))
        else:
            self.views.append(f"view{len(self.views)}")
            self.lines.append(f"{self.views[-1]} = {self.array()}")

    def write_param(self) -> None:
        if not self.params:
            return
        name = self.pick(self.params)
        what = f"net.params['{name}'][{self.draw(st.integers(0, self.params[name] - 1))}]"
        self.lines.append(
            self.pick(
                [
                    f"{what}.data[...] *= 0.5",
                    f"{what}.data.flat[::2] += 0.25",
                    f"{what}.diff[...] = like({what}, seed={self.seed()})",
                    f"randomize(net, seed={self.seed()})",
                ]
            )
        )

    def backward(self) -> None:
        if self.is_whole:
            blob = self.pick(self.axes)
            self.lines.append(self.pick(["net.backward()", f"net.backward(diffs=['{blob}'])"]))

    def backward_part(self) -> None:
        if self.is_whole:
            start, end = self.pick(self.layers), self.pick(self.layers)
            how = self.pick([f"end='{end}'", f"start='{start}'", f"start='{start}', end='{end}'"])
            self.lines.append(f"net.backward({how})")

    def backward_from_diffs(self) -> None:
        if self.is_whole and all(self.axes[name] for name in self.outputs):  # asks for a first axis
            seed = self.seed()
            diffs = (f"{name}=like(net.blobs['{name}'], {seed})" for name in self.outputs)
            self.lines.append(f"net.backward({', '.join(diffs)})")

    def clear_param_diffs(self) -> None:
        self.lines.append("net.clear_param_diffs()")

    def reshape(self) -> None:
        self.batch = self.draw(st.integers(1, 3))
        grow = self.draw(st.integers(0, 1)) if self.net.resizable else 0
        for name in self.net.inputs:
            blob = f"net.blobs['{name}']"
            rest = f"*list({blob}.shape)[1:]"
            if grow and self.axes[name] == 4:
                rest = f"{blob}.shape[1], {blob}.shape[2] + 1, {blob}.shape[3] + 1"
            self.lines.append(f"{blob}.reshape({self.batch}, {rest})")
        self.is_whole = False
        self.is_settled = self.draw(st.booleans())
        if self.is_settled:
            self.lines.append("net.reshape()")
        self.fill_inputs()

    def save_and_load(self) -> None:
        self.lines.append("net.save('net.caffemodel')")
        self.lines.append(f"randomize(net, seed={self.seed()})")
        self.lines.append("net.copy_from('net.caffemodel')")

    def second_net(self) -> None:
        phase = f"caffe.{self.net.phase}"
        if self.draw(st.booleans()):
            self.lines.append("net.save('net.caffemodel')")
            self.lines.append(f"other = caffe.Net('net.prototxt', 'net.caffemodel', {phase})")
        else:
            self.lines.append(f"other = caffe.Net('net.prototxt', {phase})")
            self.lines.append("other.share_with(net)")
        for name in self.net.inputs:
            values = self.values(name).replace("net.", "other.")
            self.lines.append(f"other.blobs['{name}'].data[...] = {values}")
        self.lines.append("other.forward()")

    def mistake(self) -> None:
        name = next(iter(self.net.inputs))
        mistakes = [
            "net.forward(start='nothing')",
            "net.forward(end='nothing')",
            "net.forward(nothing=noise(1, 1))",
            "net.backward(end='nothing')",
            "net.backward(nothing=noise(1, 1))",
            "net.blobs['nothing']",
            "net.params['nothing']",
            f"net.blobs['{name}'].data = noise(1)",
            f"net.blobs['{name}'].data[...] = noise(7, 7, 7, 7, 7)",
            f"net.blobs['{name}'].reshape('nothing')",
        ]
        if len(self.net.inputs) == 1:
            mistakes.append(f"net.forward({name}=noise({self.batch + 1}, 1))")
        self.lines.append(self.pick(mistakes))
