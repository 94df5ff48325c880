"""The Slicer extension: its metadata, its terminology and icon, what is installed, and that it works there."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from CardiacSegLib.anatomy import STRUCTURES

ROOT = Path(__file__).resolve().parents[1]
CMAKE_LISTS = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
CATALOG = json.loads((ROOT / "CardiacSeg.json").read_text(encoding="utf-8"))
TERMINOLOGY = ROOT / "Resources" / "CardiacSeg.term.json"
METADATA = (
    "CMakeLists.txt", "CardiacSeg/CMakeLists.txt", "CardiacSeg.s4ext", "CardiacSeg.json",
    "Resources/CardiacSeg.term.json", "Resources/requirements.txt", "LICENSE", "README.md",
)  # fmt: skip
RAW = "https://raw.githubusercontent.com/CardiacSeg/SlicerCardiacSeg/main/"

# What Slicer's Python has by itself, and what torch brings along; monai, typer, rich, matplotlib are in neither.
IN_SLICER = (
    "numpy", "scipy", "SimpleITK", "pydicom", "PIL", "vtk", "vtkmodules", "slicer", "slicer_core", "slicer_layer_dm",
)  # fmt: skip
WITH_TORCH = (
    "torch", "torchgen", "functorch", "typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe",
    "fsspec", "filelock",
)  # fmt: skip
IN_NO_PANEL = ("CardiacSegLib.training", "CardiacSegLib.cli", "CardiacSegLib.console")
LIKE_SLICER = """
import importlib, json, sys
from importlib.machinery import PathFinder
from pathlib import Path

folder, allowed, names = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])

class OnlySlicer:
    @staticmethod
    def find_spec(name, path=None, target=None):
        spec = PathFinder.find_spec(name) if path is None and name not in allowed else None
        if spec and "site-packages" in str(spec):
            raise ModuleNotFoundError(f"Slicer has no {name}", name=name)

sys.path.insert(0, str(folder))
sys.meta_path.insert(0, OnlySlicer)
modules = [importlib.import_module(name) for name in names]
assert all(folder in Path(module.__file__).parents for module in modules)
from CardiacSegLib import dependencies, weights
from CardiacSegLib.readers import read_cine
assert weights.WEIGHTS_FOLDER == folder / "Resources" / "Weights"
cine = read_cine(folder / "Resources" / "SampleData" / "cine.nii.gz")
print(json.dumps([dependencies.missing_packages(), len(weights.installed()), cine.frames.shape[:2]]))
"""


def cmake_value(name: str) -> str:
    """What `set(EXTENSION_name "...")` gives; the Extensions Index wants each on one line, as this pattern does."""
    (value,) = re.findall(rf'^set\(EXTENSION_{name} "([^"\n]+)"\)$', CMAKE_LISTS, re.MULTILINE)
    return value


def s4ext() -> dict[str, str]:
    lines = (ROOT / "CardiacSeg.s4ext").read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def needed() -> dict[str, Path]:
    """Path in the installed tree -> source, of every file that the module needs; taken from the file tree."""
    module = [(str(path.relative_to(ROOT / "CardiacSeg")), path) for path in (ROOT / "CardiacSeg").rglob("*.py")]
    library = [(str(path.relative_to(ROOT)), path) for path in (ROOT / "CardiacSegLib").rglob("*.py")]
    resources = [
        (str(path.relative_to(ROOT)), path)
        for path in (ROOT / "Resources").rglob("*")
        if path.is_file() and not path.name.startswith((".", "make_")) and "__pycache__" not in path.parts
    ]
    return {name.replace("\\", "/"): path for name, path in (*module, *library, *resources)}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build tree of the extension, configured with the stand-in for Slicer; needs no compiler and no make."""
    cmake = cmake_program()
    folder = tmp_path_factory.mktemp("build")
    options = {"Slicer_DIR": ROOT / "Testing" / "CMake", "BUILD_TESTING": "ON", "CMAKE_MAKE_PROGRAM": cmake}
    for language in ("C", "CXX"):
        options[f"CMAKE_{language}_COMPILER"] = cmake
        options[f"CMAKE_{language}_COMPILER_FORCED"] = options[f"CMAKE_{language}_COMPILER_ID_RUN"] = "ON"
    command = [cmake, "-S", ROOT, "-B", folder, "-G", "Unix Makefiles", *(f"-D{k}={v}" for k, v in options.items())]
    configured = subprocess.run(command, capture_output=True, text=True)
    assert configured.returncode == 0, configured.stderr
    return folder


@pytest.fixture(scope="module")
def installed(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed modules."""
    prefix = tmp_path_factory.mktemp("installed")
    subprocess.run([cmake_program(), "--install", build, "--prefix", prefix], check=True, capture_output=True)
    return prefix / "lib" / "Slicer" / "qt-scripted-modules"


def cmake_program() -> str:
    import cmake

    return shutil.which("cmake", path=cmake.CMAKE_BIN_DIR)


def test_the_project_the_files_and_the_module_have_the_extensions_name() -> None:
    assert re.search(r"project\s*\(\s*([^\s)]+)", CMAKE_LISTS)[1] == "CardiacSeg"
    assert re.search(r"NAME (\w+)", (ROOT / "CardiacSeg" / "CMakeLists.txt").read_text())[1] == "CardiacSeg"
    assert (ROOT / "CardiacSeg" / "CardiacSeg.py").is_file()


def test_slicer_understands_the_metadata_as_it_is_written(build: Path) -> None:
    lines = (build / "metadata.txt").read_text(encoding="utf-8").splitlines()
    understood = dict(line.split("=", 1) for line in lines)
    assert understood.pop("NAME") == "CardiacSeg"
    assert understood == {name: cmake_value(name) for name in understood}


def test_the_s4ext_repeats_the_metadata_of_cmake() -> None:
    description = s4ext()
    for name in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert description[name.lower()] == cmake_value(name), name
    assert description["scmurl"] == cmake_value("HOMEPAGE")
    assert description["scm"] == "git"


def test_the_catalog_entry_agrees_with_cmake_and_the_s4ext() -> None:
    description = s4ext()
    assert CATALOG["category"] == cmake_value("CATEGORY")
    assert CATALOG["build_dependencies"] == cmake_value("DEPENDS").split()
    assert CATALOG["scm_url"] == cmake_value("HOMEPAGE") + ".git"
    assert CATALOG["scm_revision"] == description["scmrevision"]
    assert CATALOG["build_subdirectory"] == description["build_subdirectory"]


def test_the_catalog_entry_has_the_fields_of_its_schema() -> None:
    types = {
        "$schema": str, "category": str, "scm_url": str, "scm_revision": str, "scm_type": str,
        "build_dependencies": list, "build_subdirectory": str, "enabled": bool, "tier": int,
    }  # fmt: skip
    assert CATALOG["$schema"].endswith("/Schemas/slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert {"$schema", "category", "scm_url"} <= set(CATALOG)
    assert {name: type(value) for name, value in CATALOG.items()} == {name: types[name] for name in CATALOG}
    assert CATALOG["tier"] in (1, 3, 5)


def test_the_extensions_index_accepts_category_name_and_addresses() -> None:
    assert CATALOG["category"] == "Cardiac"  # one of the index's fixed list
    assert CATALOG["scm_url"].startswith("https://")
    assert "slicer" in Path(CATALOG["scm_url"]).stem.lower()
    assert not "CardiacSeg".startswith("Slicer")
    assert any((ROOT / name).is_file() for name in ("LICENSE", "LICENSE.txt", "License.txt", "COPYING"))
    assert "&" not in " ".join(s4ext().values())


def test_the_description_says_what_it_is_not_and_which_weights_are_not_free() -> None:
    description = cmake_value("DESCRIPTION")
    assert "not a medical device" in description
    assert "CC BY-NC-SA 4.0" in description
    assert not set(description) & {";", '"', "$", "\\"}, "Slicer's macros would cut or change it"


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_every_picture_of_the_extension_is_a_file_of_the_repository(name: str) -> None:
    for url in cmake_value(name).split():
        assert url.startswith(RAW)
        assert url.endswith((".png", ".jpg", ".gif"))
        assert (ROOT / url.removeprefix(RAW)).is_file(), url


@pytest.mark.parametrize("name", METADATA)
def test_the_files_of_the_extension_have_unix_line_ends(name: str) -> None:
    listed = subprocess.run(["git", "ls-files", "--eol", name], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    assert listed.stdout.startswith("i/lf"), f"{name}: {listed.stdout or 'not in git'}"


def test_the_terminology_has_the_codes_names_and_colors_of_the_structures() -> None:
    (category,) = json.loads(TERMINOLOGY.read_text(encoding="utf-8"))["SegmentationCodes"]["Category"]
    keys = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning", "3dSlicerLabel", "recommendedDisplayRGBValue")
    expected = [
        (s.code.scheme, s.code.value, s.code.meaning, s.name, [round(255 * part) for part in s.color])
        for s in STRUCTURES
    ]
    assert [tuple(entry[key] for key in keys) for entry in category["Type"]] == expected
    assert (category["CodingSchemeDesignator"], category["CodeValue"]) == ("SCT", "123037004")


def test_slicer_loads_the_terminology_and_finds_each_structure_in_it() -> None:
    slicer = pytest.importorskip("slicer", reason="slicer-core, the stand-in application's MRML, is not installed")
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    context = logic.LoadTerminologyFromFile(str(TERMINOLOGY))
    assert context == "Segmentation category and type - CardiacSeg"
    for structure in STRUCTURES:
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.FindTypeInTerminologyBy3dSlicerLabel(context, structure.name, entry)
        assert entry.GetTypeObject().GetCodeValue() == structure.code.value
        color = entry.GetTypeObject().GetRecommendedDisplayRGBValue()
        assert tuple(color) == tuple(round(255 * part) for part in structure.color)


def test_the_icon_is_128_pixels_wide_and_drawn_in_the_colors_of_the_structures() -> None:
    from PIL import Image

    svg = (ROOT / "Resources" / "Icons" / "CardiacSeg.svg").read_text(encoding="utf-8")
    with Image.open(ROOT / "Resources" / "Icons" / "CardiacSeg.png") as image:
        assert image.size == (128, 128)
        colors = {color for _, color in image.convert("RGB").getcolors(128 * 128)}
    for structure in STRUCTURES:
        color = tuple(round(255 * part) for part in structure.color)
        assert "#{:02x}{:02x}{:02x}".format(*color) in svg
        assert color in colors


def test_exactly_what_the_module_needs_is_installed_side_by_side(installed: Path) -> None:
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert found == set(needed())


def test_nothing_that_is_installed_is_ignored_by_git() -> None:
    names = "\n".join(str(path.relative_to(ROOT)) for path in needed().values())
    command = ["git", "check-ignore", "--stdin"]
    ignored = subprocess.run(command, cwd=ROOT, input=names, capture_output=True, text=True)
    if ignored.returncode == 128:
        pytest.skip("this is not a git checkout")
    assert ignored.stdout == ""


def run_like_slicer(installed: Path, allowed: tuple[str, ...], names: list[str]) -> list:
    """Import the modules from the installed tree, where of all packages only the allowed ones can be imported.

    Returns the packages that the library misses, the number of installed weights, and the sample's frames and slices.
    """
    arguments = [str(installed), json.dumps(allowed), json.dumps(names)]
    command = [sys.executable, "-B", "-I", "-c", LIKE_SLICER, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def installed_weights() -> int:
    return len(list((ROOT / "Resources" / "Weights").glob("*.safetensors")))


def test_the_installed_library_works_with_what_slicer_has_torch_and_the_requirements(installed: Path) -> None:
    files = [name for name in needed() if name.startswith("CardiacSegLib/") and not name.endswith("__main__.py")]
    names = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files]
    names = [name for name in names if not name.startswith(IN_NO_PANEL)]
    told = run_like_slicer(installed, (*IN_SLICER, *WITH_TORCH, *requirements()), sorted(names))
    assert told == [[], installed_weights(), [20, 11]]


def test_the_panel_opens_and_knows_the_weights_before_anything_is_installed(installed: Path) -> None:
    tree = ast.parse((ROOT / "CardiacSeg" / "CardiacSeg.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and "CardiacSegLib" in node.module]
    whole = [f"{node.module}.{name.name}" for node in imports for name in node.names if node.module == "CardiacSegLib"]
    names = {"CardiacSegLib", "CardiacSegLib.worker", *whole, *(node.module for node in imports)}
    told = run_like_slicer(installed, IN_SLICER, sorted(names))
    assert told == [["torch>=2.4", *requirements()], installed_weights(), [20, 11]]


def test_the_installed_module_compiles(installed: Path) -> None:
    module = installed / "CardiacSeg.py"
    compile(module.read_text(encoding="utf-8"), str(module), "exec")


def requirements() -> list[str]:
    return (ROOT / "Resources" / "requirements.txt").read_text(encoding="utf-8").split()


def test_slicer_torch_and_the_requirements_together_are_the_dependencies_of_the_library() -> None:
    from CardiacSegLib.dependencies import TORCH

    listed = re.search(r"^dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    dependencies = set(re.findall(r'"([^"]+)"', listed))
    from_slicer = {name for name in dependencies if re.split(r"[<>=]", name)[0] in IN_SLICER}
    assert dependencies - from_slicer == {TORCH, *requirements()}
