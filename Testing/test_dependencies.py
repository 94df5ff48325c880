"""Installing what Slicer's Python lacks: it asks first, takes the right way, and tells what went wrong."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from CardiacSegLib import dependencies
from CardiacSegLib.dependencies import (
    DICOM,
    REPORT,
    SEGMENT,
    Purpose,
    can_install_dicom,
    describe,
    ensure_packages,
    missing_packages,
    why_no_dicom,
)
from CardiacSegLib.errors import CardiacSegError


class Computer:
    """A Python with some packages, and what Slicer offers to install others; remembers all that is called."""

    def __init__(self, versions: dict[str, str], answer: bool = True, works: bool = True) -> None:
        self.versions, self.answer, self.works = dict(versions), answer, works
        self.asked: list[str] = []
        self.calls: list[tuple] = []

    def version(self, name: str) -> str:
        if name not in self.versions:
            raise dependencies.importlib.metadata.PackageNotFoundError(name)
        return self.versions[name]

    def ask(self, question: str) -> bool:
        self.asked.append(question)
        return self.answer

    def add(self, name: str) -> None:
        if self.works:
            self.versions[name.split(">=")[0]] = "9.0"

    def installTorch(self, **options: object) -> None:  # noqa: N802 - the name of PyTorchUtilsLogic
        self.calls.append(("installTorch", options))
        self.add("torch")

    def pip_ensure(self, requirements: list[str], **options: object) -> None:
        self.calls.append(("pip_ensure", requirements, options))
        self.add(*requirements)

    def pip_install(self, requirements: str) -> None:
        self.calls.append(("pip_install", requirements))
        self.add(requirements)

    def ensure(self, new_slicer: bool = True, torch_extension: bool = True, purpose: Purpose = SEGMENT) -> None:
        packaging = self if new_slicer else None
        ensure_packages(self.ask, self if torch_extension else None, self, packaging, purpose)


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch):
    """Gives make(versions, ...), a computer on which the library believes to run; nothing is loaded on it yet."""

    def make(*versions: str, **options: bool) -> Computer:
        made = Computer(dict(text.split("==") for text in versions), **options)
        monkeypatch.setattr(dependencies.importlib.metadata, "version", made.version)
        monkeypatch.setattr(dependencies.importlib.util, "find_spec", lambda name: name in made.versions or None)
        for name in ("torch", "safetensors", "matplotlib", "jinja2", "reportlab", "highdicom"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return made

    return make


def test_where_all_is_there_nobody_is_asked_and_nothing_installed(computer) -> None:
    there = computer("torch==2.4.1+cpu", "safetensors==0.4.5")
    there.ensure()
    assert (there.asked, there.calls) == ([], [])


def test_this_python_lacks_nothing() -> None:
    assert missing_packages() == []


@pytest.mark.parametrize(
    ("versions", "missing"),
    [
        ((), ["torch>=2.4", "safetensors"]),
        (("torch==2.13.0+cu130",), ["safetensors"]),
        (("torch==2.3.1", "safetensors==0.5"), ["torch>=2.4"]),
        (("torch==2.10.0a0+git1", "safetensors==0.5"), []),
    ],
)
def test_what_is_absent_or_too_old_is_missing(computer, versions: tuple[str, ...], missing: list[str]) -> None:
    computer(*versions)
    assert missing_packages() == missing


def test_a_half_removed_package_is_missing(computer, monkeypatch: pytest.MonkeyPatch) -> None:
    computer("torch==2.5", "safetensors==0.5")
    monkeypatch.setattr(dependencies.importlib.util, "find_spec", lambda name: None if name == "torch" else name)
    assert missing_packages() == ["torch>=2.4"]


def test_the_question_names_each_package_with_its_size(computer) -> None:
    fresh = computer()
    fresh.ensure()
    (question,) = fresh.asked
    assert question == describe(["torch>=2.4", "safetensors"])
    lines = [line for line in question.splitlines() if line.startswith("- ")]
    assert "PyTorch" in lines[0]
    assert "GB" in lines[0]
    assert "safetensors" in lines[1]
    assert "MB" in lines[1]


def test_torch_comes_through_its_extension_and_the_rest_through_pip_ensure(computer) -> None:
    fresh = computer()
    fresh.ensure()
    assert fresh.calls == [
        ("installTorch", {"askConfirmation": False, "torchVersionRequirement": ">=2.4"}),
        ("pip_ensure", ["safetensors"], {"requester": "CardiacSeg", "prompt_install": False}),
    ]


def test_before_slicer_5_12_the_rest_comes_through_pip_install(computer) -> None:
    older = computer("torch==2.4")
    older.ensure(new_slicer=False)
    assert older.calls == [("pip_install", "safetensors")]


def test_a_no_installs_nothing_and_says_what_is_lacking(computer) -> None:
    unwilling = computer(answer=False)
    with pytest.raises(CardiacSegError, match="torch, safetensors"):
        unwilling.ensure()
    assert unwilling.calls == []


def test_without_the_pytorch_extension_its_installation_is_asked_for_and_nothing_else_done(computer) -> None:
    bare = computer()
    with pytest.raises(CardiacSegError, match="install the extension PyTorch"):
        bare.ensure(torch_extension=False)
    assert (bare.asked, bare.calls) == ([], [])


def test_the_pytorch_extension_is_not_needed_where_torch_is_there(computer) -> None:
    there = computer("torch==2.6")
    there.ensure(torch_extension=False)
    assert missing_packages() == []


def test_a_failing_pip_is_told_in_one_sentence(computer, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = computer("torch==2.6")

    def fail(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(offline, "pip_ensure", fail)
    with pytest.raises(CardiacSegError, match=r"installation of safetensors failed .*network"):
        offline.ensure()


def test_an_installation_that_leaves_nothing_behind_is_noticed(computer) -> None:
    broken = computer(works=False)
    with pytest.raises(CardiacSegError, match=r"torch>=2\.4, safetensors could not be installed"):
        broken.ensure()


def test_a_package_that_is_replaced_while_loaded_asks_for_a_restart(computer, monkeypatch: pytest.MonkeyPatch) -> None:
    old = computer("torch==1.13", "safetensors==0.5")
    monkeypatch.setitem(sys.modules, "torch", object())
    with pytest.raises(CardiacSegError, match="torch was replaced by a newer version; restart Slicer"):
        old.ensure()
    assert missing_packages() == []


SEGMENTING = ("torch==2.4", "safetensors==0.5")


def test_segmenting_asks_for_nothing_that_only_reports_or_dicom_need(computer) -> None:
    there = computer(*SEGMENTING)
    there.ensure()
    assert (there.asked, there.calls) == ([], [])
    assert missing_packages(REPORT) == ["matplotlib", "jinja2", "reportlab"]
    assert missing_packages(DICOM) == ["highdicom>=0.27"]


def test_the_packages_of_the_report_are_named_with_their_sizes_and_installed_by_pip_without_pytorch(computer) -> None:
    there = computer("jinja2==3.1")
    there.versions["matplotlib"] = "3.9"
    there.ensure(torch_extension=False, purpose=REPORT)
    (question,) = there.asked
    assert question.startswith("The report needs Python packages")
    assert [line for line in question.splitlines() if line.startswith("- ")] == [
        "- ReportLab, with what it needs a download of about 3 MB"
    ]
    assert [call[:2] for call in there.calls] == [("pip_ensure", ["reportlab"])]


@pytest.mark.parametrize("purpose", [SEGMENT, REPORT, DICOM])
def test_the_size_of_every_package_is_known(purpose: Purpose) -> None:
    lines = [line for line in describe(list(purpose.requirements), purpose).splitlines() if line.startswith("- ")]
    assert len(lines) == len(purpose.requirements)
    assert all("a download of" in line for line in lines)


def test_a_no_to_the_report_says_what_cannot_be_done(computer) -> None:
    unwilling = computer(answer=False)
    with pytest.raises(CardiacSegError, match=r"Without matplotlib, jinja2, reportlab no report can be made"):
        unwilling.ensure(purpose=REPORT)
    assert unwilling.calls == []


def test_dicom_is_written_with_a_new_pydicom_only_which_is_never_replaced(computer) -> None:
    computer("pydicom==2.4.4")
    assert "needs pydicom 3" in why_no_dicom()
    assert not can_install_dicom()
    with_new = computer("pydicom==3.0.1")
    assert "press Install for DICOM" in why_no_dicom()
    assert can_install_dicom()
    with_new.ensure(new_slicer=False, purpose=DICOM)
    assert with_new.calls == [("pip_install", "highdicom>=0.27")]
    assert why_no_dicom() == ""
    assert not can_install_dicom()


def test_what_the_panel_installs_is_what_the_library_names(computer) -> None:
    project = (dependencies.REQUIREMENTS.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    extras = dict(re.findall(r"^(cli|dicom) = \[(.*?)\]", project, re.MULTILINE))
    assert {f'"{requirement}"' for requirement in REPORT.requirements} <= set(extras["cli"].split(", "))
    assert [f'"{requirement}"' for requirement in DICOM.requirements] == [extras["dicom"]]
