"""PythonQt's manner over PySide6: properties as attributes, signals by their signature, enumerators that are numbers.

Modules written for Slicer say `button.text`, `button.connect("clicked(bool)", slot)` and `slider.value = 3`. What
PySide6 does for these is replaced once, in the whole process; code in PySide6's own manner no longer runs after that.
Where PythonQt would only print a message, an exception is raised here.
"""

from __future__ import annotations

import ctypes
import enum
import inspect
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

# What Qt 6 or PySide6 offers and PythonQt over Qt 5.15 does not; a module that uses it would fail in Slicer 5.10.
QT6_ONLY = {
    QtGui.QSinglePointEvent: ("position", "globalPosition", "scenePosition"),
    QtWidgets.QCheckBox: ("checkStateChanged",),
    QtGui.QStyleHints: ("colorScheme", "colorSchemeChanged", "setColorScheme"),
    QtGui.QColor: ("fromString", "isValidColorName"),
    QtGui.QImage: ("flipped", "flip"),
    QtWidgets.QWidget: ("eventDispatched",),
    QtCore.QObject: ("receivers", "sender", "emit"),
}
PYSIDE_ONLY = (
    "Signal",
    "Slot",
    "Property",
    "ClassInfo",
    "QEnum",
    "QFlag",
    "SignalInstance",
    "MetaFunction",
    "SIGNAL",
    "SLOT",
)

_generic_set = ctypes.pythonapi.PyObject_GenericSetAttr
_generic_set.argtypes = [ctypes.py_object] * 3
_generic_set.restype = ctypes.c_int
_signal_instance = QtCore.SignalInstance
_original_getattribute = QtCore.QObject.__getattribute__
_original_connect = QtCore.QObject.connect
_original_disconnect = QtCore.QObject.disconnect
_set_property = QtCore.QObject.setProperty
_get_property = QtCore.QObject.property
_object_name = QtCore.QObject.objectName
_meta_object = QtCore.QObject.metaObject


class _Property:
    """A Q_PROPERTY as a data descriptor; the getter is the method that PySide6 had under this name, if any."""

    def __init__(self, name: str, getter: Any) -> None:
        self.name = name
        self.getter = getter
        self.direct = inspect.ismethoddescriptor(getter) and not isinstance(getter, staticmethod)

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self.getter
        value = self.getter(instance) if self.direct else _get_property(instance, self.name)
        return tuple(value) if isinstance(value, list) else value

    def __set__(self, instance: Any, value: Any) -> None:
        current = _get_property(instance, self.name)
        if isinstance(current, int) and not isinstance(current, bool) and isinstance(value, float):
            value = int(value // 1)
        if isinstance(value, tuple):
            value = list(value)
        if not _set_property(instance, self.name, value):
            raise AttributeError(f"{type(instance).__name__}.{self.name} cannot be set to {value!r}")


class _Refused:
    """A name that Qt 5 or PythonQt does not have."""

    def __init__(self, owner: str, name: str) -> None:
        self.text = f"{owner}.{name} does not exist in PythonQt over Qt 5; a module that uses it fails in Slicer 5.10"

    def __get__(self, instance: Any, owner: type) -> Any:
        raise AttributeError(self.text)


class BoundSignal:
    """A signal of an object: what PythonQt gives for `button.clicked`."""

    def __init__(self, sender: QtCore.QObject, signal: Any) -> None:
        self._sender = sender
        self._signal = signal

    def __call__(self, *arguments: Any) -> None:
        self._signal.emit(*arguments)

    emit = __call__

    def connect(self, slot: Callable | BoundSignal) -> bool:
        """Connect the first of the overloads, which is the one with all arguments: clicked(bool), not clicked()."""
        meta, name = _meta_object(self._sender), self._name()
        methods = (meta.method(index) for index in range(meta.methodCount()))
        signature = next(m.methodSignature().data().decode() for m in methods if m.name().data().decode() == name)
        return _remember(self._sender, name, slot, _original_connect(self._sender, "2" + signature, _wrap(slot)))

    def disconnect(self, slot: Callable | None = None) -> bool:
        return _forget(self._sender, self._name(), slot)

    def _name(self) -> str:
        return re.search(r"(\w+)\(", str(self._signal))[1]


def _wrap(slot: Any) -> Callable:
    """A function that holds on to the slot, as PythonQt does, and hands on as many arguments as the slot takes."""
    if not callable(slot):
        raise TypeError(f"{slot!r} is not callable")
    if isinstance(slot, _signal_instance):
        return slot.emit
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return slot
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return lambda *arguments: slot(*arguments)
    count = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    return lambda *arguments: slot(*arguments[:count])


_connections: dict[int, list[tuple[str, Any, Any]]] = {}


def _remember(sender: QtCore.QObject, name: str, slot: Any, connection: Any) -> bool:
    key = id(sender)
    if key not in _connections:
        _connections[key] = []
        _original_connect(sender, "2destroyed()", lambda: _connections.pop(key, None))
    _connections[key].append((name, slot, connection))
    return True


def _forget(sender: QtCore.QObject, name: str, slot: Any) -> bool:
    kept, dropped = [], []
    for entry in _connections.get(id(sender), []):
        chosen = entry[0] == name and (slot is None or entry[1] == slot)
        (dropped if chosen else kept).append(entry)
    for _, _, connection in dropped:
        _original_disconnect(connection)
    if dropped:
        _connections[id(sender)] = kept
    return bool(dropped)


def _signature(sender: QtCore.QObject, text: str) -> str:
    """The signature that PySide6 knows the signal by; raises ValueError where there is no such signal."""
    signature = QtCore.QMetaObject.normalizedSignature(text)
    signature = signature.decode() if isinstance(signature, bytes) else bytes(signature).decode()
    candidates = [signature, re.sub(r"\bq?(vtk|qMRML|qSlicer)\w+\*", "PyObject", signature)]
    for candidate in candidates:
        if _meta_object(sender).indexOfSignal(candidate) >= 0:
            return candidate
    raise ValueError(f"{type(sender).__name__} has no signal {text}")


def _connect(sender: QtCore.QObject, *arguments: Any) -> Any:
    """PythonQt's `connect("signal(types)", callable)` and `connect("signal(types)", receiver, "slot(types)")`."""
    if arguments and isinstance(arguments[0], (QtCore.QObject, _signal_instance)):
        return _original_connect(*arguments)
    if len(arguments) == 2 and str(arguments[0])[:1] == "2":
        return _original_connect(sender, *arguments)  # PySide6 itself, inside QTimer.singleShot
    signature = _signature(sender, arguments[0])
    if len(arguments) == 3:
        arguments = (signature, getattr(arguments[1], re.match(r"\w+", arguments[2])[0]))
    connection = _original_connect(sender, "2" + signature, _wrap(arguments[1]))
    return _remember(sender, signature.split("(")[0], arguments[1], connection)


def _disconnect(sender: QtCore.QObject, *arguments: Any) -> bool:
    if arguments and isinstance(arguments[0], str):
        signature = _signature(sender, arguments[0])
        return _forget(sender, signature.split("(")[0], arguments[1] if len(arguments) > 1 else None)
    return _original_disconnect(*arguments)


def _getattribute(self: QtCore.QObject, name: str) -> Any:
    if name == "connect":
        return lambda *arguments: _connect(self, *arguments)
    if name == "disconnect":
        return lambda *arguments: _disconnect(self, *arguments)
    try:
        value = _original_getattribute(self, name)
    except AttributeError:
        if name.startswith("__"):
            raise
        return _unknown(self, name)
    return BoundSignal(self, value) if type(value) is _signal_instance else value


def _unknown(self: QtCore.QObject, name: str) -> Any:
    """PythonQt's last resorts: the object's name, a dynamic property, a child by its name."""
    if name == "name":
        return _object_name(self)
    if name.encode() in [bytes(each) for each in QtCore.QObject.dynamicPropertyNames(self)]:
        return _get_property(self, name)
    for child in QtCore.QObject.children(self):
        if _object_name(child) == name:
            return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _setattr(self: QtCore.QObject, name: str, value: Any) -> None:
    if name == "name":
        _set_property(self, "objectName", value)
    elif isinstance(inspect.getattr_static(type(self), name, None), QtCore.Property):
        _set_property(self, name, value)
    elif _settable(self, name, value):
        if isinstance(value, BoundSignal):
            raise AttributeError(f"{name} is a signal")
        _generic_set(self, name, value)
    elif name.encode() in [bytes(each) for each in QtCore.QObject.dynamicPropertyNames(self)]:
        _set_property(self, name, value)
    else:
        raise AttributeError(
            f"Attribute '{name}' does not exist and creating new attributes on C++ objects is not allowed"
        )


def _settable(self: QtCore.QObject, name: str, value: Any) -> bool:
    """Known properties, anything on an object of a Python class, and what PySide6 stores: signals, loaded children."""
    kind = type(self)
    python_class = kind not in _native and (kind not in STAND_INS or name.startswith("_"))
    known = isinstance(inspect.getattr_static(kind, name, None), _Property)
    return python_class or known or isinstance(value, _signal_instance) or _is_child(name, value)


def _is_child(name: str, value: Any) -> bool:
    return isinstance(value, QtCore.QObject) and _object_name(value) == name


_native: set[type] = set()
STAND_INS: set[type] = set()  # Python classes that stand for C++ ones; no attribute can be added to their objects


def types_of(module: Any) -> dict[str, type]:
    """The classes of a PySide6 module by name; it makes them only when they are asked for."""
    return {name: value for name in dir(module) if isinstance(value := getattr(module, name), type)}


def install() -> None:
    """Patch PySide6; harmless when done again."""
    if _native:
        return
    _keep_none()
    every = [c for module in (QtCore, QtGui, QtWidgets) for c in types_of(module).values()]
    classes = {c for c in every if issubclass(c, QtCore.QObject)}
    _native.update(classes)
    originals = {c: dict(vars(c)) for c in classes}
    for cls in classes:
        _install_properties(cls, originals[cls])
        cls.__setattr__ = _setattr
    QtCore.QObject.__getattribute__ = _getattribute
    QtCore.QObject.className = lambda self: _meta_object(self).className()
    QtCore.QObject.delete = QtCore.QObject.deleteLater
    for cls in every:
        _soften_enums(cls)
    for cls, names in QT6_ONLY.items():
        for name in names:
            setattr(cls, name, _Refused(cls.__name__, name))
    _patch_dialogs()


def _keep_none() -> None:
    """PySide6 6.12 gives a reference to None away with every call that returns it; before 3.12, where None became
    immortal, Python aborts when none is left."""
    if sys.version_info < (3, 12):
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40


def module() -> ModuleType:
    """The module `qt` as Slicer has it; patches PySide6."""
    install()
    qt = ModuleType("qt", "Qt as PythonQt shows it")
    for source in (QtCore, QtGui, QtWidgets):
        for name in dir(source):
            if not name.startswith("_") and name not in PYSIDE_ONLY:
                setattr(qt, name, getattr(source, name))
    return qt


def _install_properties(cls: type, own: dict[str, Any]) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        name = meta.property(index).name()
        if index >= meta.propertyOffset() or name in own:
            setattr(cls, name, _Property(name, own.get(name)))


def _soften_enums(cls: type) -> None:
    """Enumerators behave as the numbers that they are in PythonQt."""
    for value in list(vars(cls).values()):
        if isinstance(value, type) and issubclass(value, enum.Enum) and not issubclass(value, int):
            value.__int__ = value.__index__ = lambda self: self.value
            value.__eq__ = lambda self, other: (
                self.value == int(other) if isinstance(other, (int, enum.Enum)) else False
            )
            value.__hash__ = lambda self: hash(self.value)


def _patch_dialogs() -> None:
    """PythonQt's static dialogs return the answer only, and a dialog is run by exec_."""

    def first(function: Callable) -> staticmethod:
        def call(*arguments: Any, **keywords: Any) -> Any:
            result = function(*arguments, **keywords)
            return result[0] if isinstance(result, tuple) else result

        return staticmethod(call)

    for cls, names in {
        QtWidgets.QFileDialog: ("getOpenFileName", "getOpenFileNames", "getSaveFileName"),
        QtWidgets.QInputDialog: ("getText", "getInt", "getDouble", "getItem", "getMultiLineText"),
    }.items():
        for name in names:
            setattr(cls, name, first(getattr(cls, name)))
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu):
        cls.exec_ = cls.exec
