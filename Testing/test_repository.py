"""The repository itself: small files, no traces of a machine, and metadata that agree with each other."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

import CardiacSegLib
from CardiacSegLib.weights import read_card

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000


@cache
def tracked() -> tuple[Path, ...]:
    """The files that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return tuple(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())


def texts() -> dict[str, str]:
    """Name -> content of the tracked text files, without this one, which spells out what it looks for."""
    contents = {}
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data[:8000] and path != Path(__file__).resolve():
            contents[str(path.relative_to(ROOT))] = data.decode("utf-8")
    return contents


def total_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in tracked() if folder in path.parents)


def test_the_sample_takes_at_most_3_mb() -> None:
    assert 0 < total_bytes(ROOT / "Resources" / "SampleData") <= 3 * MB


def test_weights_take_15_mb_for_the_memory_network_and_30_for_the_automatic_methods_and_each_has_a_card() -> None:
    sizes = {True: 0, False: 0}
    for path in (ROOT / "Resources" / "Weights").glob("*.safetensors"):
        sizes[read_card(path).network == "cstm"] += path.stat().st_size
    assert 0 < sizes[True] <= 15 * MB
    assert 0 < sizes[False] <= 30 * MB


def test_the_whole_repository_takes_less_than_90_mb() -> None:
    assert sum(path.stat().st_size for path in tracked()) < 90 * MB


@pytest.mark.parametrize(
    "pattern",
    [r"/(home|Users|work|root|mnt|opt)/\w+", r"[A-Z]:\\\\?Users", r"\bpypi\b", r"files\.pythonhosted", r"index-url"],
)
def test_no_path_of_a_machine_and_no_registry_is_named(pattern: str) -> None:
    found = [f"{name}: {match[0]}" for name, text in texts().items() for match in re.finditer(pattern, text)]
    assert found == []


def test_nothing_is_left_to_do() -> None:
    word = "TO" + "DO"
    assert [name for name, text in texts().items() if name.endswith(".py") and word in text] == []


def test_every_python_file_says_its_purpose_first() -> None:
    sources = {name: text for name, text in texts().items() if name.endswith(".py") and text.strip()}
    assert [name for name, text in sources.items() if not text.startswith('"""')] == []


def test_every_package_of_the_library_is_installed() -> None:
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "CardiacSegLib").rglob("__init__.py")}
    listed = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)[1]
    assert packages == set(re.findall(r'"([\w.]+)"', listed))


def test_the_supported_versions_of_python_are_the_same_everywhere() -> None:
    assert 'requires-python = ">=3.10"' in (ROOT / "pyproject.toml").read_text()
    assert "(3, 10) <= sys.version_info[:2] <= (3, 12)" in (ROOT / "run.py").read_text()
    assert "3.10-3.12" in (ROOT / "README.md").read_text()


def test_every_dependency_has_a_version_that_is_known_to_work() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    lists = re.findall(r"^(?:dependencies|cli|train|test|dicom) = \[(.*?)\]", project, re.MULTILINE | re.DOTALL)
    wanted = {re.split(r"[<>=]", name)[0].lower() for text in lists for name in re.findall(r'"([^"]+)"', text)}
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert wanted
    assert wanted <= pinned


def test_licence_and_version_agree() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert 'license = { text = "MIT" }' in (ROOT / "pyproject.toml").read_text()
    assert re.fullmatch(r"\d+\.\d+\.\d+", CardiacSegLib.__version__)


def test_continuous_integration_runs_what_the_readme_says() -> None:
    assert "python3 run.py test" in (ROOT / ".ci" / "run").read_text()
    readme = (ROOT / "README.md").read_text()
    assert "python3 run.py test" in readme
    assert "python3 run.py demo" in readme
    assert "not a medical device" in readme
