"""run.py before anything is installed: what it says and how it ends."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """run.py as a module, in a folder of its own without .venv."""
    spec = importlib.util.spec_from_file_location("run", ROOT / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    venv = tmp_path / ".venv"
    for name, value in {
        "HERE": tmp_path, "VENV": venv, "PYTHON": venv / "bin" / "python", "STAMP": venv / "installed.txt",
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, value)
    return module


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["dance"], 2)])
def test_it_tells_its_commands_without_installing_anything(arguments: list[str], code: int) -> None:
    # -S and -I: no installed package can be imported, as on a fresh machine
    result = subprocess.run([sys.executable, "-I", "-S", ROOT / "run.py", *arguments], capture_output=True, text=True)
    assert result.returncode == code
    for command in ("demo", "test", "panel", "setup"):
        assert command in result.stdout + result.stderr


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 13, 0)])
def test_another_python_is_refused_in_one_sentence(
    run: ModuleType, version: tuple, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(sys, "version", ".".join(map(str, version)))
    assert run.main(["demo"]) == 1
    message = capsys.readouterr().err
    assert ".".join(map(str, version)) in message
    assert "3.10 to 3.12" in message
    assert not run.VENV.exists()


def test_it_installs_again_only_where_the_requirements_changed(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for name in ("make_venv", "install", "system_libraries"):
        monkeypatch.setattr(run, name, lambda *_, name=name: steps.append(name) or 0)
    run.PYTHON.parent.mkdir(parents=True)
    run.PYTHON.touch()
    assert run.setup() == 0
    assert steps == ["make_venv", "install", "system_libraries"]
    assert run.setup() == 0
    assert len(steps) == 3
    with open(run.HERE / "constraints.txt", "a") as file:
        file.write("# changed\n")
    assert run.setup() == 0
    assert len(steps) == 6


def test_the_tests_and_the_panel_install_more_than_the_demo(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[str] = []
    for name in ("make_venv", "system_libraries", "window_libraries"):
        monkeypatch.setattr(run, name, lambda *_: 0)
    monkeypatch.setattr(run, "install", lambda extras: installed.append(extras) or 0)
    run.PYTHON.parent.mkdir(parents=True)
    run.PYTHON.touch()
    for command in ("demo", "test", "demo", "panel"):
        assert run.setup(command) == 0
    assert installed == ["cli,train,test", "cli,train,test,panel"]


@pytest.mark.parametrize(("command", "packages"), [("test", "libegl1"), ("panel", "libegl1 libxcb-cursor0")])
def test_what_qt_needs_of_the_system_is_asked_for(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, command: str, packages: str
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(run, "loads", lambda library: library not in ("libEGL.so.1", "libxcb-cursor.so.0"))
    monkeypatch.setattr(run, "apt_install", lambda names, _: asked.append(names) or 0)
    assert run.window_libraries(command) == 0
    assert run.window_libraries("demo") == 0
    assert asked == [packages]


def test_without_a_display_the_panel_says_so(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert run.main(["panel"]) == 1
    assert "no display" in capsys.readouterr().err
    assert not run.VENV.exists()


def test_a_failed_installation_is_told_and_tried_again_next_time(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(run, "make_venv", lambda: 0)
    run.PYTHON.parent.mkdir(parents=True)
    run.PYTHON.write_text("#!/bin/sh\necho no space left\nexit 1\n")
    run.PYTHON.chmod(0o755)
    assert run.main(["test"]) == 1
    message = capsys.readouterr().err
    assert "no space left" in message
    assert "installation failed" in message
    assert not run.STAMP.exists()


def test_who_may_not_install_a_debian_package_gets_the_line_that_does(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(run.shutil, "which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr(run.os, "geteuid", lambda: 1000, raising=False)
    assert run.apt_install("python3.11-venv", "Python's module venv") == 1
    assert "sudo apt-get install -y --no-install-recommends python3.11-venv" in capsys.readouterr().err
