"""A prototxt, layer by layer: each method adds a layer and returns the name of the blob it writes.

A blob has the name of the first layer that writes it, and activations work in place, unless an
architecture's published files differ.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

Value = int | float | bool | str | Sequence[object] | Mapping[str, object]


class Net:
    """A net under construction.

    Parameters
    ----------
    name
        Its name in the file.
    about
        The comment at the top: the architecture's authors, its publication, and its input.
    eps, global_stats
        Of its batch normalizations, if they are not Caffe's defaults.
    """

    def __init__(
        self, name: str, about: str, eps: float | None = None, global_stats: bool = False
    ) -> None:
        lines = textwrap.wrap(about, 96, break_long_words=False, break_on_hyphens=False)
        self._parts = ["\n".join(f"# {line}" for line in lines), f'name: "{name}"']
        self._names: set[str] = set()
        self._norm = {"use_global_stats": True} if global_stats else {}
        if eps is not None:
            self._norm["eps"] = eps

    @property
    def text(self) -> str:
        """The whole file."""
        return "\n".join(self._parts) + "\n"

    def comment(self, text: str) -> None:
        """A comment line on the next layers."""
        self._parts.append(f"\n# {text}")

    def layer(
        self,
        name: str,
        type: str,
        bottoms: str | Sequence[str] = (),
        tops: str | Sequence[str] | None = None,
        **fields: Value | None,
    ) -> str:
        """Any layer; returns its first top, which has the layer's name if no top is given.

        Fields that are None, and messages without fields, are left out.
        """
        if name in self._names:
            raise ValueError(f"a layer is named {name!r} already")
        self._names.add(name)
        reads = [bottoms] if isinstance(bottoms, str) else list(bottoms)
        writes = [name] if tops is None else [tops] if isinstance(tops, str) else list(tops)
        blobs = [f'bottom: "{blob}"' for blob in reads] + [f'top: "{blob}"' for blob in writes]
        lines = [f'name: "{name}" type: "{type}"', " ".join(blobs), *_fields(fields)]
        self._parts.append("\n".join(["layer {", *(f"  {line}" for line in lines), "}"]))
        return writes[0]

    # What holds the image or other inputs

    def input(self, *shape: int, name: str = "data") -> str:
        """An input of that shape."""
        return self.layer(name, "Input", input_param={"shape": {"dim": shape}})

    # Layers with weights

    def conv(
        self,
        name: str,
        bottom: str,
        outputs: int,
        kernel: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        pad: int | Sequence[int] = 0,
        dilation: int = 1,
        group: int = 1,
        bias: bool = True,
        type: str = "Convolution",
        top: str | None = None,
        params: Sequence[str] = (),
    ) -> str:
        """A convolution; sizes are those of a square, or (height, width).

        `params` are names of weights and bias, which let several layers share them.
        """
        sizes: dict[str, Value | None] = {"num_output": outputs}
        for field, size, default in (("kernel", kernel, 0), ("stride", stride, 1), ("pad", pad, 0)):
            square = "kernel_size" if field == "kernel" else field
            if not isinstance(size, int):
                sizes |= {f"{field}_h": size[0], f"{field}_w": size[1]}
            elif size != default:
                sizes[square] = size
        sizes["dilation"] = None if dilation == 1 else dilation
        sizes["group"] = None if group == 1 else group
        sizes["bias_term"] = None if bias else False
        return self.layer(
            name,
            type,
            bottom,
            top,
            param=[{"name": param} for param in params],
            convolution_param=sizes,
        )

    def fc(
        self,
        name: str,
        bottom: str,
        outputs: int,
        *,
        axis: int | None = None,
        params: Sequence[str] = (),
    ) -> str:
        """An inner product."""
        return self.layer(
            name,
            "InnerProduct",
            bottom,
            param=[{"name": param} for param in params],
            inner_product_param={"num_output": outputs, "axis": axis},
        )

    def norm_scale(self, bottom: str, norm: str, scale: str, top: str | None = None) -> str:
        """A batch normalization, as Caffe splits it: BatchNorm, and Scale with bias in place."""
        top = top or bottom
        self.layer(norm, "BatchNorm", bottom, top, batch_norm_param=self._norm)
        return self.layer(scale, "Scale", top, top, scale_param={"bias_term": True})

    # Layers without weights

    def relu(self, name: str, blob: str, slope: float | None = None) -> str:
        """A ReLU in place."""
        return self.layer(name, "ReLU", blob, blob, relu_param={"negative_slope": slope})

    def dropout(self, name: str, blob: str, ratio: float = 0.5) -> str:
        """A Dropout in place."""
        return self.layer(name, "Dropout", blob, blob, dropout_param={"dropout_ratio": ratio})

    def pool(
        self,
        name: str,
        bottom: str,
        kernel: int,
        stride: int = 1,
        *,
        pad: int = 0,
        kind: str = "MAX",
        tops: Sequence[str] | None = None,
        **more: Value | None,
    ) -> str:
        """Pooling: "MAX" or "AVE"; give `tops` to get the mask, too."""
        sizes = {
            "pool": kind,
            "kernel_size": kernel,
            "stride": None if stride == 1 else stride,
            "pad": pad or None,
        }
        return self.layer(name, "Pooling", bottom, tops, pooling_param=sizes | more)

    def global_pool(self, name: str, bottom: str) -> str:
        """The mean of each channel."""
        sizes = {"pool": "AVE", "global_pooling": True}
        return self.layer(name, "Pooling", bottom, pooling_param=sizes)

    def lrn(self, name: str, bottom: str) -> str:
        """Local response normalization across five channels, as in AlexNet."""
        sizes = {"local_size": 5, "alpha": 0.0001, "beta": 0.75}
        return self.layer(name, "LRN", bottom, lrn_param=sizes)

    def softmax(self, bottom: str, name: str = "prob") -> str:
        """Probabilities of the classes."""
        return self.layer(name, "Softmax", bottom)

    def concat(self, name: str, bottoms: Sequence[str], axis: int | None = None) -> str:
        """The concatenation of several blobs, by default along channels."""
        return self.layer(name, "Concat", bottoms, concat_param={"axis": axis})

    def add(self, name: str, bottoms: Sequence[str]) -> str:
        """The sum of several blobs."""
        return self.layer(name, "Eltwise", bottoms)

    # Shorthands for what most nets repeat

    def conv_relu(
        self,
        name: str,
        bottom: str,
        outputs: int,
        kernel: int,
        *,
        relu: str,
        top: str | None = None,
        **sizes: int,
    ) -> str:
        """A convolution and its ReLU."""
        return self.relu(relu, self.conv(name, bottom, outputs, kernel, top=top, **sizes))

    def fc_relu_dropout(self, number: int, bottom: str, outputs: int = 4096) -> str:
        """An inner product of AlexNet or VGG, with its ReLU and Dropout."""
        blob = self.relu(f"relu{number}", self.fc(f"fc{number}", bottom, outputs))
        return self.dropout(f"drop{number}", blob)


def _fields(fields: Mapping[str, object]) -> list[str]:
    """``{"a_param": {"x": 1, "y": [2, 3]}, "b": 4}`` -> ``["a_param { x: 1 y: 2 y: 3 }", "b: 4"]``.

    A string in capitals is an enum's value; any other string is put in quotes.
    """
    lines = []
    for name, value in fields.items():
        values = [value] if isinstance(value, (str, Mapping)) else value
        for one in values if isinstance(values, Sequence) else [values]:
            if isinstance(one, Mapping):
                if inner := _fields(one):
                    lines.append(f"{name} {{ {' '.join(inner)} }}")
            elif isinstance(one, bool):
                lines.append(f"{name}: {str(one).lower()}")
            elif isinstance(one, str):
                lines.append(f"{name}: {one}" if one.isupper() else f'{name}: "{one}"')
            elif one is not None:
                lines.append(f"{name}: {one}")
    return lines
