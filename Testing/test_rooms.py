"""The rooms of the house: who may import what, and what is imported when the panel opens."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "CardiacSegLib"
MODULE = ROOT / "CardiacSeg" / "CardiacSeg.py"


def imported(path: Path) -> set[str]:
    """The packages that a file imports by name, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_only_one_room_of_the_library_knows_slicer_and_none_knows_qt() -> None:
    for path in LIBRARY.rglob("*.py"):
        assert not imported(path) & {"qt", "ctk", "PySide6", "SlicerHost"}, path
        if path.parent.name != "mrml":
            assert not imported(path) & {"slicer", "vtk"}, path
            assert "vtkmodules" not in imported(path) or path.name == "surfaces.py", path


def test_the_module_never_imports_the_host() -> None:
    for path in MODULE.parent.rglob("*.py"):
        assert not imported(path) & {"SlicerHost", "PySide6", "trame_slicer", "Testing"}, path


def test_nothing_in_the_module_computes() -> None:
    for path in MODULE.parent.rglob("*.py"):
        assert not imported(path) & {"numpy", "scipy", "torch", "SimpleITK", "pydicom", "matplotlib"}, path


def test_the_mrml_room_takes_the_scene_as_it_is_given() -> None:
    for path in (LIBRARY / "mrml").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for word in ("slicer.app", "slicer.modules", "slicer.mrmlScene", "slicer.util"):
            assert f"{word}." not in text.replace(f"`{word}`", ""), f"{path} uses {word}"


@pytest.mark.parametrize("package", ["torch", "monai", "matplotlib", "pydicom"])
def test_the_panel_opens_without_what_is_slow_or_may_be_missing(package: str) -> None:
    lines = [
        "import sys",
        f"sys.modules[{package!r}] = None",
        "import CardiacSegLib.session, CardiacSegLib.words, CardiacSegLib.strip, CardiacSegLib.selftest",
        "import CardiacSegLib.choices, CardiacSegLib.dependencies, CardiacSegLib.worker, CardiacSegLib.readers",
        "import CardiacSegLib.pictures, CardiacSegLib.outputs",
        "print(len(CardiacSegLib.choices.weights_choices()))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
