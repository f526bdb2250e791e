"""``caffe.net_spec``: nets written in Python and converted to a prototxt.

A layer is a `Function`, which reads blobs and writes others. Each blob is a `Top` of its layer.
``layers`` makes layers, ``params`` has the values of enums, and a `NetSpec` assigns names::

    n = NetSpec()
    n.data, n.label = layers.Data(source="lmdb", batch_size=8, backend=params.Data.LMDB, ntop=2)
    n.conv1 = layers.Convolution(n.data, num_output=20, kernel_size=5)
    n.relu1 = layers.ReLU(n.conv1, in_place=True)
    print(n.to_proto())
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from deepvis_caffe.caffe.proto import caffe_pb2
from deepvis_caffe.errors import DeepVisError, UnknownNameError, did_you_mean


class NetSpecError(DeepVisError, AttributeError, TypeError, ValueError):
    """A layer's description is invalid; pycaffe raises one of these three base classes."""


class UnknownTopError(UnknownNameError, AttributeError):  # type: ignore[misc]  # both have `name`
    """A `NetSpec` has no top with that name."""


class Top:
    """A blob that a layer writes.

    Parameters
    ----------
    fn
        The layer.
    n
        Index among the layer's tops.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Any:
        """The net that computes this blob; see `to_proto`."""
        return to_proto(self)


class Function:
    """A layer: its type, its inputs, and its parameters.

    Parameters
    ----------
    type_name
        The layer's type, for example ``"Convolution"``.
    inputs
        The `Top` objects that it reads.
    params
        Its parameters by name: those of its own message (``num_output=20``), or fields of
        ``LayerParameter`` (``name="conv1"``, ``convolution_param=dict(num_output=20)``). Messages
        are dictionaries, repeated fields are lists. Two more are not fields: ``ntop``, the number
        of tops (default 1), and ``in_place``, whether it works in place (default False).

    Raises
    ------
    NetSpecError
        If an input is not a `Top`; it is a ``TypeError`` too.
    """

    def __init__(self, type_name: str, inputs: Iterable[Top], params: Mapping[str, Any]) -> None:
        self.type_name = type_name
        self.inputs = tuple(inputs)
        for index, top in enumerate(self.inputs):
            if not isinstance(top, Top):
                kind = type(top)  # pycaffe's words, which scripts may match
                raise NetSpecError(f"{type_name} input {index} is not a Top (type is {kind})")
        self.params = dict(params)
        self.ntop = self.params.pop("ntop", 1)
        self.in_place = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))


class NetSpec:
    """A net whose blobs have names: ``n.conv1 = layers.Convolution(n.data, ...)``.

    A layer is named after its first top. Items (``n["conv1"]``) are the same as attributes, and
    needed for names such as ``"fire2/squeeze"``. ``tops`` has all of them, in order.
    """

    tops: dict[str, Top | Function]

    def __init__(self) -> None:
        object.__setattr__(self, "tops", {})

    def __setattr__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getattr__(self, name: str) -> Any:
        tops = vars(self).get("tops", {})  # absent while a copy is being made
        if name not in tops:
            raise UnknownTopError("top", name, tops, "this NetSpec")
        return tops[name]

    def __setitem__(self, name: str, value: Top | Function) -> None:
        self.tops[name] = value

    def __getitem__(self, name: str) -> Any:
        return self.__getattr__(name)

    def to_proto(self) -> Any:
        """The net that computes every named blob.

        Returns
        -------
        caffe_pb2.NetParameter
            Layers in an order in which they can run. Unnamed blobs are named after their layer's
            type, with a number: ``Convolution1``.

        Raises
        ------
        NetSpecError
            If a layer has no such parameter, or a value does not fit it.
        """
        net = _Net({top: name for name, top in self.tops.items()})
        for name, top in self.tops.items():
            if not isinstance(top, (Top, Function)):
                raise NetSpecError(f"{name} of this NetSpec is a {type(top).__name__}, not a Top")
            net.add(top if isinstance(top, Function) else top.fn)
        return net.message

    # SSD's Caffe has the following methods, and its model_libs.py needs them.

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def keys(self) -> list[str]:
        """The names of all tops."""
        return list(self.tops)

    def vals(self) -> list[Top | Function]:
        """All tops."""
        return list(self.tops.values())

    def update(self, name: str, params: Mapping[str, Any]) -> None:
        """Change parameters of the layer that writes the top with this name."""
        top = self[name]
        (top if isinstance(top, Function) else top.fn).params.update(params)


def to_proto(*tops: Top | Function) -> Any:
    """The net that computes these blobs, which are all named after their layers' types.

    Returns
    -------
    caffe_pb2.NetParameter
        See `NetSpec.to_proto`.
    """
    net = _Net({})
    for top in tops:
        net.add(top if isinstance(top, Function) else top.fn)
    return net.message


class _Net:
    """Writes each layer once, after the layers of its inputs."""

    def __init__(self, names: dict[Any, str]) -> None:
        self.message = caffe_pb2.NetParameter()
        self._names = names
        self._numbers: Counter[str] = Counter()
        self._layers: dict[Function, Any] = {}

    def add(self, fn: Function) -> Any:
        """The layer's message, added to the net if necessary."""
        if fn in self._layers:
            return self._layers[fn]
        # An input has the name that its layer writes: in place, that of the blob below.
        bottoms = [self.add(top.fn).top[top.n] for top in fn.inputs]
        tops = bottoms if fn.in_place else [self._name(top, fn) for top in fn.tops]
        name = self._name(fn.tops[0] if fn.tops else fn, fn)
        layer = self.message.layer.add(type=fn.type_name, bottom=bottoms, top=tops, name=name)
        _assign_parameters(layer, fn)
        self._layers[fn] = layer
        return layer

    def _name(self, of: Top | Function, fn: Function) -> str:
        if of not in self._names:
            self._numbers[fn.type_name] += 1
            self._names[of] = f"{fn.type_name}{self._numbers[fn.type_name]}"
        return self._names[of]


def _assign_parameters(layer: Any, fn: Function) -> None:
    own_name = f"{_param_names.get(fn.type_name)}_param"
    fields = layer.DESCRIPTOR.fields_by_name
    own_fields = fields[own_name].message_type.fields_by_name if own_name in fields else {}
    where = f"layer {layer.name} ({fn.type_name})"
    for key, value in fn.params.items():
        # `param` and messages belong to LayerParameter, even if the layer's own message has them.
        is_own = key in own_fields and not key.endswith("param")
        if not is_own and key not in fields:
            known = [*own_fields, *fields]
            raise NetSpecError(f"{where} has no parameter {key!r}{did_you_mean(key, known)}")
        try:
            assign_proto(getattr(layer, own_name) if is_own else layer, key, value)
        except NetSpecError as error:
            raise NetSpecError(f"{where}: {error}") from error


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """Set one field of a message to a plain Python value.

    Parameters
    ----------
    proto
        The message.
    name
        The field.
    val
        For a message, a dictionary of its fields; for a repeated field, a list or tuple of items to
        append, or a single item; otherwise the plain value.

    Raises
    ------
    NetSpecError
        If the message has no such field, or the value does not fit it.
    """
    field = proto.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        known = did_you_mean(name, proto.DESCRIPTOR.fields_by_name)
        raise NetSpecError(f"{proto.DESCRIPTOR.name} has no field {name!r}{known}")
    if field.is_repeated and isinstance(val, (list, tuple)):
        for item in val:
            assign_proto(proto, name, item)
        return
    try:
        if field.message_type and isinstance(val, Mapping):
            target = getattr(proto, name)
            message = target.add() if field.is_repeated else target
            for key, value in val.items():
                assign_proto(message, key, value)
        elif field.is_repeated:
            getattr(proto, name).append(val)
        elif field.message_type:
            getattr(proto, name).CopyFrom(val)
        else:
            setattr(proto, name, val)
    except NetSpecError:
        raise
    except (TypeError, ValueError) as error:
        problem = f"{proto.DESCRIPTOR.name}.{name} cannot be {val!r}"
        raise NetSpecError(f"{problem} ({error})") from error


class Layers:
    """Makes layers: ``Layers().ReLU(top)`` is the blob that a layer of type ReLU writes.

    Each function takes the `Top` objects that the layer reads and its parameters; see `Function`.
    It returns the layer's `Top`, a tuple of them if ``ntop`` is above 1, or for ``ntop=0`` the
    `Function`, which a `NetSpec` also accepts.
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):  # copy, inspect and IPython look for such names
            raise AttributeError(name)

        def layer(*inputs: Top, **params: Any) -> Any:
            fn = Function(name, inputs, params)
            if fn.ntop == 0:
                return fn
            return fn.tops if fn.ntop > 1 else fn.tops[0]

        return layer


class Parameters:
    """Values of enums: ``Parameters().Pooling.MAX`` is ``caffe_pb2.PoolingParameter.MAX``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(caffe_pb2, f"{name}Parameter")
        except AttributeError:
            known = [n.removesuffix("Parameter") for n in vars(caffe_pb2) if n[0] != "_"]
            raise NetSpecError(
                f"no parameters are called {name}{did_you_mean(name, known)}"
            ) from None


def param_name_dict() -> dict[str, str]:
    """For each layer type with parameters of its own, their field's name without ``_param``."""
    names: dict[str, str] = {"ReLU6": "relu6"}  # its message is ReLU's
    # By number: of several fields with the same message, stock Caffe's or the best-known is first.
    fields = sorted(caffe_pb2.LayerParameter.DESCRIPTOR.fields, key=lambda field: field.number)
    for field in fields:
        if field.name.endswith("_param"):
            layer_type = field.message_type.name.removesuffix("Parameter")
            names.setdefault(layer_type, field.name.removesuffix("_param"))
    return names


_param_names = param_name_dict()
layers = Layers()
params = Parameters()
