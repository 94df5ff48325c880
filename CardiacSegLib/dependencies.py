"""The packages that Slicer's Python lacks: which, how large, and their installation after the user has said yes."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import CardiacSegError

REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
TORCH = "torch>=2.4"
"""PyTorch is not among the requirements, since the extension PyTorch finds the build that fits the graphics card."""

_SIZES = {
    "torch": "PyTorch, a download of about 0.2 GB, or 2 to 4 GB on a computer with an NVIDIA graphics card",
    "safetensors": "safetensors, a download of less than 1 MB",
}


def missing_packages() -> list[str]:
    """The requirements that the running Python does not fulfil, PyTorch first, e.g. ["torch>=2.4", "safetensors"]."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return [name for name in (TORCH, *filter(None, lines)) if not _is_fulfilled(name)]


def describe(missing: list[str]) -> str:
    """The question to the user: which packages will be installed, and how large they are."""
    items = "\n".join(f"- {_SIZES.get(_name(requirement), requirement)}" for requirement in missing)
    return (
        f"CardiacSeg needs Python packages that are not installed yet:\n\n{items}\n\n"
        "They take two to four times as much room on the disk. Only Slicer's own Python changes. "
        "It may take some minutes. Install them now?"
    )


def ensure_packages(
    ask: Callable[[str], bool], torch_logic: Any, util: ModuleType, packaging: ModuleType | None = None
) -> None:
    """Install what is missing, PyTorch through the extension PyTorch and the rest by pip, if the user agrees.

    ask: shows a question and returns whether the answer is yes; torch_logic: a PyTorchUtilsLogic, None where the
    extension PyTorch is absent; util: slicer.util; packaging: slicer.packaging, None before Slicer 5.12.
    To be called on the main thread, when a button is pressed and never at import. Does nothing if all is there.
    Raises CardiacSegError if the user declines, an installation fails, or Slicer has to be restarted.
    """
    missing = missing_packages()
    if not missing:
        return
    if TORCH in missing and torch_logic is None:
        raise CardiacSegError(
            "PyTorch is not installed; install the extension PyTorch in the Extensions Manager and restart Slicer."
        )
    names = ", ".join(_name(requirement) for requirement in missing)
    if not ask(describe(missing)):
        raise CardiacSegError(f"Without {names} nothing can be segmented; try again and agree to the installation.")
    loaded = [_name(requirement) for requirement in missing if _name(requirement) in sys.modules]
    try:
        _install(missing, torch_logic, util, packaging)
    except Exception as error:  # pip, light-the-torch and Slicer's dialogs each fail in their own way
        raise CardiacSegError(
            f"The installation of {names} failed ({error}); check the network and the disk and try again."
        ) from error
    if left := missing_packages():
        raise CardiacSegError(f"{', '.join(left)} could not be installed; Slicer's Python console says why.")
    if loaded:
        raise CardiacSegError(f"{', '.join(loaded)} was replaced by a newer version; restart Slicer to use it.")


def optional(name: str) -> ModuleType | None:
    """A Python module that some Slicers have, e.g. slicer.packaging; None where it is absent."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _install(missing: list[str], torch_logic: Any, util: ModuleType, packaging: ModuleType | None) -> None:
    """Install the requirements; the user has agreed already, so nobody asks again."""
    if TORCH in missing:
        torch_logic.installTorch(askConfirmation=False, torchVersionRequirement=TORCH.removeprefix("torch"))
    others = [requirement for requirement in missing if requirement != TORCH]
    if others and packaging is not None:
        packaging.pip_ensure(others, requester="CardiacSeg", prompt_install=False)
    elif others:
        util.pip_install(" ".join(others))
    importlib.invalidate_caches()


def _name(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement)[0]


def _is_fulfilled(requirement: str) -> bool:
    """Whether a requirement of the form NAME or NAME>=VERSION is installed; half an installation counts as none."""
    name, _, least = requirement.partition(">=")
    try:
        version = importlib.metadata.version(name)
        found = importlib.util.find_spec(name)
    except (importlib.metadata.PackageNotFoundError, ImportError, ValueError):
        return False
    return bool(version and found) and _numbers(version) >= _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, e.g. (2, 13, 0) of "2.13.0+cpu"."""
    return tuple(int(number) for number in re.match(r"[\d.]*", version)[0].split(".") if number)
