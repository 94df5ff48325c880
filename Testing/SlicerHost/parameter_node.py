"""Stand-in for slicer.parameterNodeWrapper: a class of typed parameters kept in a real vtkMRMLScriptedModuleNode.

Plain types only: str, int, float, bool, pathlib.Path, Enum, MRML nodes, Optional and Annotated of these; others raise.
A value that the node does not have, as after the scene was closed, is its default again and is written back when read.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

from . import bindings


class WithinRange:
    """A number from minimum to maximum."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def check(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value {value} is not within [{self.minimum}, {self.maximum}]")


class Minimum(WithinRange):
    """A number not below the minimum."""

    def __init__(self, minimum: float) -> None:
        super().__init__(minimum, float("inf"))


class Maximum(WithinRange):
    """A number not above the maximum."""

    def __init__(self, maximum: float) -> None:
        super().__init__(float("-inf"), maximum)


class Choice:
    """One of the given values."""

    def __init__(self, choices: list) -> None:
        self.choices = choices

    def check(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value {value!r} is not one of {self.choices}")


class Default:
    """The value where none is set."""

    def __init__(self, value: Any) -> None:
        self.value = value


@dataclass
class Parameter:
    """A parameter's name, type, whether it may be None, its validators and its default."""

    name: str
    kind: type
    optional: bool
    validators: list
    default: Any

    @property
    def is_node(self) -> bool:
        return issubclass(self.kind, slicer.vtkMRMLNode)

    def check(self, value: Any) -> None:
        if value is None:
            if not (self.optional or self.is_node):
                raise ValueError(f"{self.name} may not be None")
            return
        allowed = (int, float) if self.kind is float else (str, Path) if self.kind is Path else self.kind
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.kind is not bool):
            raise TypeError(f"{self.name} must be {self.kind.__name__}, not {type(value).__name__}")
        for validator in self.validators:
            validator.check(value)

    def write(self, node: Any, key: str, value: Any) -> None:
        if self.is_node:
            node.SetNodeReferenceID(key, value.GetID() if value is not None else None)
        elif value is None:
            node.SetParameter(key, "null")
        else:
            plain = value.name if self.kind.__base__ is enum.Enum else str(value) if self.kind is Path else value
            node.SetParameter(key, plain if isinstance(plain, str) else json.dumps(plain))

    def read(self, node: Any, key: str) -> Any:
        if self.is_node:
            return node.GetNodeReference(key)
        if not node.HasParameter(key):
            self.write(node, key, self.default)
            return self.default
        text = node.GetParameter(key)
        if self.optional and text == "null":
            return None
        if issubclass(self.kind, enum.Enum):
            return self.kind[text]
        return text if self.kind is str else self.kind(text) if self.kind is Path else self.kind(json.loads(text))


def _parse(name: str, annotation: Any, assigned: Any) -> Parameter:
    """The parameter of one line of the class; raises TypeError for a type that is not offered."""
    validators, default = [], None
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *extras = typing.get_args(annotation)
        validators = [e for e in extras if hasattr(e, "check")]
        default = next((e.value for e in extras if isinstance(e, Default)), None)
    optional = False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional = len(inner) < len(typing.get_args(annotation))
        annotation = inner[0] if len(inner) == 1 else object
    plain = isinstance(annotation, type) and (
        annotation in (str, int, float, bool, Path) or issubclass(annotation, (enum.Enum, slicer.vtkMRMLNode))
    )
    if not plain:
        raise TypeError(f"Parameter {name}: the host's parameterNodeWrapper does not offer the type {annotation}")
    if assigned is not None:
        default = assigned
    if default is None and not optional and not issubclass(annotation, slicer.vtkMRMLNode):
        choice = next((v for v in validators if isinstance(v, Choice)), None)
        default = choice.choices[0] if choice else next(iter(annotation)) if issubclass(annotation, enum.Enum) else None
        if default is None:
            default = Path() if annotation is Path else annotation()
    return Parameter(name, annotation, optional, validators, default)


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: the annotated names become parameters in the node that the class is made with."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _parse(name, hint, cls.__dict__.get(name)) for name, hint in hints.items()}
    for name, parameter in parameters.items():
        setattr(cls, name, _descriptor(parameter))
    cls.allParameters = parameters
    for name, member in vars(_Wrapper).items():
        if not name.startswith("__") or name == "__init__":
            setattr(cls, name, member)
    return cls


def _descriptor(parameter: Parameter) -> property:
    def get(self: Any) -> Any:
        return parameter.read(self.parameterNode, self._key(parameter.name))

    def put(self: Any, value: Any) -> None:
        parameter.check(value)
        parameter.write(self.parameterNode, self._key(parameter.name), value)

    return property(get, put)


class _Wrapper:
    """The members that every wrapped class gets."""

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self.prefix = prefix
        self._guiTags: dict[int, Any] = {}
        blocked = parameterNode.StartModify()
        for parameter in type(self).allParameters.values():
            parameter.read(parameterNode, self._key(parameter.name))
        parameterNode.EndModify(blocked)

    def _key(self, name: str) -> str:
        return f"{self.prefix}.{name}" if self.prefix else name

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def HasObserver(self, *arguments: Any) -> bool:
        return self.parameterNode.HasObserver(*arguments)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was: int) -> int:
        return self.parameterNode.EndModify(was)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def default(self, name: str) -> Any:
        return type(self).allParameters[name].default

    def isCached(self, name: str) -> bool:
        return False

    def connectGui(self, gui: Any) -> int:
        """Bind the widgets below `gui` that have SlicerParameterName; the tag is for disconnectGui."""
        mapping = {}
        for widget in _widgets(gui):
            name = widget.property("SlicerParameterName")
            if name:
                if name not in type(self).allParameters:
                    raise ValueError(f"Cannot bind widget '{widget.objectName}' to unknown parameter '{name}'")
                mapping[name] = widget
        return self.connectParametersToGui(mapping)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind each parameter to its widget; the tag is for disconnectGui."""
        connectors = [bindings.connect(w, type(self).allParameters[n]) for n, w in mapping.items()]
        tag = max(self._guiTags, default=0) + 1
        updating = [False]

        def to_node(connector: Any) -> None:
            if not updating[0]:
                setattr(self, connector.parameter.name, connector.read())

        def to_gui(*_: Any) -> None:
            updating[0] = True
            try:
                for connector in connectors:
                    connector.write(getattr(self, connector.parameter.name))
            finally:
                updating[0] = False

        to_gui()
        for connector in connectors:
            connector.attach(lambda *_, c=connector: to_node(c))
        observer = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, to_gui)
        self._guiTags[tag] = (observer, connectors)
        return tag

    def disconnectGui(self, tag: int) -> None:
        observer, connectors = self._guiTags.pop(tag)
        self.parameterNode.RemoveObserver(observer)
        for connector in connectors:
            connector.detach()


def _widgets(gui: Any) -> list:
    """The widget and all below it; childWidgetVariables gives an object whose attributes are the widgets."""
    if not hasattr(gui, "children"):
        return [w for w in vars(gui).values() if hasattr(w, "property")]
    found, waiting = [], [gui]
    while waiting:
        widget = waiting.pop()
        found.append(widget)
        waiting += widget.children()
    return found
