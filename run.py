"""From a fresh clone: `python3 run.py demo`, `test`, `panel` or `setup`; needs Python 3.10 to 3.12, nothing else."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "installed.txt"
RESULTS = Path("results", "demo")
SAMPLE = Path("Resources", "SampleData")
# What Qt and VTK need of the system: library -> Debian package.
OFFSCREEN = {
    "libEGL.so.1": "libegl1", "libGL.so.1": "libgl1 libgl1-mesa-dri", "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3", "libfontconfig.so.1": "libfontconfig1 fonts-dejavu-core",
    "libglib-2.0.so.0": "libglib2.0-0",
}  # fmt: skip
WINDOW = {
    "libxcb-cursor.so.0": "libxcb-cursor0", "libxcb-icccm.so.4": "libxcb-icccm4", "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1", "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0", "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}  # fmt: skip
# What some tests compare with: program -> Debian package. Without it they are skipped.
JUDGES = {"dciodvfy": "dicom3tools", "pdftotext": "poppler-utils"}
USAGE = """Usage: python3 run.py COMMAND

  demo           propagate the annotated frame of the bundled cine over the whole heart cycle and measure it
  test [ARGS]    ruff and the tests; ARGS go to pytest
  panel          the panel of the Slicer module in a window, with the bundled cine; it is not 3D Slicer
  setup          only make .venv and install into it
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    commands = {"demo": demo, "test": test, "panel": panel, "setup": lambda _: 0}
    if arguments and arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    if not arguments or arguments[0] not in commands:
        print(USAGE, end="", file=sys.stderr)
        return 2
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        return fail(f"This is Python {sys.version.split()[0]}, but CardiacSeg needs 3.10 to 3.12; run it with that.")
    if arguments[0] == "panel" and sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        return fail("There is no display to open a window on; run this where there is a screen, or with xvfb-run.")
    try:
        return setup(arguments[0]) or commands[arguments[0]](arguments[1:])
    except KeyboardInterrupt:
        return 130


def fail(sentence: str) -> int:
    """Tell what is wrong; returns the exit code 1."""
    print(f"run.py: {sentence}", file=sys.stderr)
    return 1


def setup(command: str = "setup") -> int:
    """Make .venv and install what the command needs, unless that was done before; returns the exit code."""
    extras = "cli,train,test,panel" if command in ("test", "panel") else "cli,train,test"
    done = STAMP.read_text(encoding="utf-8").split() if PYTHON.exists() and STAMP.exists() else []
    if done[:1] != [requirements()] or not done[-1].startswith(extras):
        began = time.monotonic()
        if code := make_venv() or install(extras) or system_libraries() or finish(began, extras):
            return code
    return window_libraries(command)


def requirements() -> str:
    """Changes whenever something has to be installed anew."""
    content = b"".join((HERE / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    return hashlib.sha256(content).hexdigest()


def finish(began: float, extras: str) -> int:
    """Note what is installed."""
    STAMP.write_text(f"{requirements()} {extras}", encoding="utf-8")
    print(f"Installed in {time.monotonic() - began:.0f} s.", flush=True)
    return 0


def make_venv() -> int:
    """Make .venv unless there is a sound one; on Debian the package for that may have to be installed first."""
    if PYTHON.exists():
        right = "import pip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))"
        if subprocess.run([PYTHON, "-c", right], capture_output=True).returncode == 0:
            return 0
        shutil.rmtree(VENV)
    print("Making .venv ...", flush=True)
    make = [sys.executable, "-m", "venv", str(VENV)]
    if subprocess.run(make, capture_output=True).returncode == 0:
        return 0
    shutil.rmtree(VENV, ignore_errors=True)
    code = apt_install(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv", "Python's module venv")
    if code == 0 and subprocess.run(make).returncode != 0:
        code = fail(f"'{' '.join(make)}' failed; install Python with its modules venv and ensurepip.")
    return code


def install(extras: str) -> int:
    """Install the project and what these extras need, in the versions of constraints.txt."""
    print("Installing (a few minutes, several hundred MB the first time) ...", flush=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "-e", f".[{extras}]", "-c", "constraints.txt"]
    process = subprocess.Popen(command, cwd=HERE, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Collecting"):
            print("  " + re.match(r"[\w.-]*", line.split()[1])[0], flush=True)
    if process.wait() == 0:
        return 0
    print("".join(lines[-20:]), end="", file=sys.stderr)
    return fail(
        "The installation failed (pip's last lines are above); check the network and the disk, and run it again."
    )


def system_libraries() -> int:
    """See that the libraries load; install a missing system library, or print the line that does."""
    probe = [str(PYTHON), "-c", "import torch, SimpleITK, cv2, matplotlib.pyplot"]
    packages = {"libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6", "libgthread-2.0.so.0": "libglib2.0-0"}
    for attempt in range(2):
        loaded = subprocess.run(probe, capture_output=True, text=True)
        needed = [package for library, package in packages.items() if library in loaded.stderr]
        if loaded.returncode == 0:
            return 0
        if attempt == 0 and needed and (code := apt_install(" ".join(needed), "A system library")):
            return code
    return fail(f"The installed libraries do not load: {loaded.stderr.strip().splitlines()[-1]}")


def window_libraries(command: str) -> int:
    """See that what Qt and VTK need of the system is there for tests of the panel, and for its window."""
    needed = {"test": OFFSCREEN, "panel": {**OFFSCREEN, **WINDOW}}.get(command, {})
    if not sys.platform.startswith("linux"):
        return 0
    missing = [package for library, package in needed.items() if not loads(library)]
    return apt_install(" ".join(missing), "A system library of the panel") if missing else 0


def loads(library: str) -> bool:
    """Whether the system has this library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def apt_install(packages: str, what: str) -> int:
    """Install Debian packages if that is allowed here, else say the line that does; returns the exit code."""
    line = f"apt-get install -y --no-install-recommends {packages}"
    if shutil.which("apt-get") is None or not hasattr(os, "geteuid"):
        return fail(f"{what} is missing; install it and run this again.")
    if os.geteuid() != 0:
        return fail(f"{what} is missing; run 'sudo {line}' and then this again.")
    print(f"Installing {packages} ...", flush=True)
    for command in (["apt-get", "update"], line.split()):
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            return fail(f"'{' '.join(command)}' failed; mend that and run this again.")
    return 0


def demo(_: list[str]) -> int:
    """The main job on the bundled cine, beside the expert's values; returns the exit code."""
    began = time.monotonic()
    print("Propagating the expert's end-diastolic contours (frame 18) over the whole cine:", flush=True)
    command = [
        str(PYTHON), "-m", "CardiacSegLib.cli", "propagate", str(SAMPLE / "cine.nii.gz"),
        "--annotation", str(SAMPLE / "annotation.nii.gz"), "--frame", "18", "--annotated-slices", "18:0,18:10",
        "--expert", str(SAMPLE / "expert.nii.gz"), "--device", "cpu", "--output", str(RESULTS),
    ]  # fmt: skip
    code = subprocess.run(command, cwd=HERE).returncode
    if code == 0:
        print(f"Done in {time.monotonic() - began:.0f} s; open {HERE / RESULTS / 'overlay.gif'}")
    return code


def test(arguments: list[str]) -> int:
    """ruff, then the tests; returns the exit code."""
    missing = [package for program, package in JUDGES.items() if shutil.which(program) is None]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        apt_install(" ".join(missing), "A program that judges the DICOM files and the report")
    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["pytest", *arguments]):
        code = subprocess.run([str(PYTHON), "-m", *command], cwd=HERE).returncode
        if code:
            return code
    return 0


def panel(_: list[str]) -> int:
    """The panel in a window, until it is closed; returns the exit code."""
    environment = {**os.environ, "PYTHONPATH": str(HERE / "Testing")}
    return subprocess.run([str(PYTHON), "-m", "SlicerHost"], cwd=HERE, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
