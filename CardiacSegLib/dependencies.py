"""The packages that Slicer's Python lacks: which, how large, and their installation after the user has said yes."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
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
    "matplotlib": "Matplotlib, with what it needs a download of about 17 MB",
    "jinja2": "Jinja2, a download of less than 1 MB",
    "reportlab": "ReportLab, with what it needs a download of about 3 MB",
    "highdicom": "highdicom, with what it needs a download of about 4 MB",
}


@dataclass(frozen=True)
class Purpose:
    """What packages are for: their requirements, what needs them, and what cannot be done without them."""

    requirements: tuple[str, ...]
    needs: str
    cannot: str


SEGMENT = Purpose(
    (TORCH, *filter(None, REQUIREMENTS.read_text(encoding="utf-8").splitlines())),
    "CardiacSeg",
    "nothing can be segmented",
)
REPORT = Purpose(("matplotlib", "jinja2", "reportlab"), "The report", "no report can be made")
DICOM = Purpose(("highdicom>=0.27",), "The DICOM export", "no DICOM can be written")
_PYDICOM = "pydicom>=3"
"""What highdicom needs. It is not installed here: Slicer's own DICOM module works with the version that it brings."""


def missing_packages(purpose: Purpose = SEGMENT) -> list[str]:
    """The requirements that the running Python does not fulfil, PyTorch first, e.g. ["torch>=2.4", "safetensors"]."""
    return [name for name in purpose.requirements if not _is_fulfilled(name)]


def why_no_dicom(_: Callable[[str], str] = str) -> str:
    """Why no DICOM can be written by this Python, in one sentence; nothing where it can."""
    if not _is_fulfilled(_PYDICOM):
        return _(
            "DICOM export needs pydicom 3, and this Slicer has an older one that its own DICOM module uses; take a "
            "newer Slicer, or export NIfTI."
        )
    return _("highdicom is not installed; press Install for DICOM.") if missing_packages(DICOM) else ""


def can_install_dicom() -> bool:
    """Whether all that is missing for DICOM can be installed."""
    return bool(missing_packages(DICOM)) and _is_fulfilled(_PYDICOM)


def describe(missing: list[str], purpose: Purpose = SEGMENT) -> str:
    """The question to the user: which packages will be installed, and how large they are."""
    items = "\n".join(f"- {_SIZES.get(_name(requirement), requirement)}" for requirement in missing)
    return (
        f"{purpose.needs} needs Python packages that are not installed yet:\n\n{items}\n\n"
        "They take two to four times as much room on the disk. Only Slicer's own Python changes. "
        "It may take some minutes. Install them now?"
    )


def ensure_packages(
    ask: Callable[[str], bool],
    torch_logic: Any,
    util: ModuleType,
    packaging: ModuleType | None = None,
    purpose: Purpose = SEGMENT,
) -> None:
    """Install what is missing, PyTorch through the extension PyTorch and the rest by pip, if the user agrees.

    ask: shows a question and returns whether the answer is yes; torch_logic: a PyTorchUtilsLogic, None where the
    extension PyTorch is absent; util: slicer.util; packaging: slicer.packaging, None before Slicer 5.12.
    To be called on the main thread, when a button is pressed and never at import. Does nothing if all is there.
    Raises CardiacSegError if the user declines, an installation fails, or Slicer has to be restarted.
    """
    missing = missing_packages(purpose)
    if not missing:
        return
    if TORCH in missing and torch_logic is None:
        raise CardiacSegError(
            "PyTorch is not installed; install the extension PyTorch in the Extensions Manager and restart Slicer."
        )
    names = ", ".join(_name(requirement) for requirement in missing)
    if not ask(describe(missing, purpose)):
        raise CardiacSegError(f"Without {names} {purpose.cannot}; try again and agree to the installation.")
    loaded = [_name(requirement) for requirement in missing if _name(requirement) in sys.modules]
    try:
        _install(missing, torch_logic, util, packaging)
    except Exception as error:  # pip, light-the-torch and Slicer's dialogs each fail in their own way
        raise CardiacSegError(
            f"The installation of {names} failed ({error}); check the network and the disk and try again."
        ) from error
    if left := missing_packages(purpose):
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
