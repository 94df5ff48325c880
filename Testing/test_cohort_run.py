"""Commands on many studies: none stops the others, what is finished is skipped, and what went wrong is in a table."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest
from killing import make_study
from typer.testing import CliRunner

from CardiacSegLib import cli
from CardiacSegLib.measures import study as measures
from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.writers.images import write_segmentation


def invoke(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def rows_of(path: Path) -> dict[str, dict]:
    with open(path, newline="") as file:
        return {row["study"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Masks of three small hearts: a.nii.gz, b.nii.gz, c.nii.gz."""
    folder = tmp_path_factory.mktemp("masks")
    for seed, name in enumerate("abc"):
        heart = beating_heart(seed, frames=3, slices=3, size=48, spacing=(3.5, 3.5, 14.0))
        write_segmentation(heart.truth, folder / f"{name}.nii.gz", heart.cine)
    return [folder / f"{name}.nii.gz" for name in "abc"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every study that is really measured; the n-th is stopped by the user if n was put in before."""
    calls: list[int] = []
    original = measures.measure_study

    def counted(*arguments, **more):
        calls.append(len(calls))
        if calls[0] == -len(calls):
            raise KeyboardInterrupt
        return original(*arguments, **more)

    monkeypatch.setattr(measures, "measure_study", counted)
    return calls


class TestResumedMeasures:
    def test_what_is_finished_is_skipped_and_said(self, masks, tmp_path, measured) -> None:
        assert invoke("measure", *masks[:2], "-o", tmp_path).exit_code == 0
        first = rows_of(tmp_path / "cohort.csv")
        result = invoke("measure", *masks, "-o", tmp_path, "--resume")
        assert result.exit_code == 0, result.output
        assert len(measured) == 3
        assert "finished before and skipped: a, b" in result.stderr
        again = rows_of(tmp_path / "cohort.csv")
        assert list(again) == ["a", "b", "c"]
        assert {name: again[name] for name in "ab"} == first
        assert [path.name for path in tmp_path.iterdir()] == ["cohort.csv"]

    def test_without_resume_all_is_done_again(self, masks, tmp_path, measured) -> None:
        for _ in range(2):
            assert invoke("measure", *masks[:2], "-o", tmp_path).exit_code == 0
        assert len(measured) == 4

    def test_a_run_that_was_stopped_goes_on_where_it_was(self, masks, tmp_path, measured) -> None:
        measured.append(-4)
        stopped = invoke("measure", *masks, "-o", tmp_path)
        assert stopped.exit_code == 130
        assert list(rows_of(tmp_path / "cohort_unfinished.csv")) == ["a", "b"]
        assert not (tmp_path / "cohort.csv").exists(), "a table is whole"
        measured.clear()
        assert invoke("measure", *masks, "-o", tmp_path, "--resume").exit_code == 0
        assert len(measured) == 1
        assert list(rows_of(tmp_path / "cohort.csv")) == ["a", "b", "c"]
        assert [path.name for path in tmp_path.iterdir()] == ["cohort.csv"]

    def test_other_content_or_another_option_is_not_the_same_study(self, masks, tmp_path, measured) -> None:
        for path in masks[:2]:
            shutil.copy(path, tmp_path)
        copies = [tmp_path / path.name for path in masks[:2]]
        assert invoke("measure", *copies, "-o", tmp_path / "out").exit_code == 0
        shutil.copy(masks[2], copies[0])
        assert invoke("measure", *copies, "-o", tmp_path / "out", "--resume").exit_code == 0
        assert len(measured) == 3
        assert invoke("measure", *copies, "-o", tmp_path / "out", "--resume", "--label-map", "acdc").exit_code == 0
        assert len(measured) == 5

    def test_a_study_that_failed_is_tried_again(self, masks, tmp_path, measured) -> None:
        broken = tmp_path / "broken.nii.gz"
        broken.write_text("this is no image")
        failed = invoke("measure", masks[0], broken, "-o", tmp_path / "out")
        assert failed.exit_code == 1
        assert ["broken", "1"] in [line.split()[:2] for line in failed.stdout.splitlines()]
        shutil.copy(masks[1], broken)
        assert invoke("measure", masks[0], broken, "-o", tmp_path / "out", "--resume").exit_code == 0
        assert len(measured) == 2
        assert {row["problem"] for row in rows_of(tmp_path / "out" / "cohort.csv").values()} == {""}


COMMAND = """#!{python}
import json, os, pathlib, signal, sys
arguments = sys.argv[3:]
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
name = pathlib.Path(arguments[1]).name
if "dies" in name:
    os.kill(os.getpid(), signal.SIGKILL)
if "fails" in name:
    sys.exit("cardiacseg: It is so; do something else.")
print("note: It is odd.", file=sys.stderr)
output = pathlib.Path(arguments[arguments.index("--output") + 1])
output.mkdir(parents=True, exist_ok=True)
for file in ("measures.json", "study.json"):
    (output / file).write_text(json.dumps({{"lv_edv_ml": 120.0}}))
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The commands that were given for single studies, by a Python that only pretends to carry them out."""
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(COMMAND.format(python=sys.executable, log=str(log)))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture
def cines(tmp_path: Path) -> list[Path]:
    for name in ("one", "dies", "fails", "two"):
        (tmp_path / f"{name}.nii.gz").write_text(name)
    return [tmp_path / f"{name}.nii.gz" for name in ("one", "dies", "fails", "two")]


@pytest.mark.skipif(sys.platform == "win32", reason="needs an executable script")
class TestManyStudiesInProcessesOfTheirOwn:
    def test_none_stops_the_others_and_a_table_tells_exit_codes(self, cines, tmp_path, commands) -> None:
        result = invoke("segment", *cines, "-o", tmp_path / "out", "--engine", "unet")
        assert result.exit_code == 1
        table = [line.split() for line in result.stdout.splitlines()]
        assert ["dies", "-9"] in [words[:2] for words in table]
        assert ["fails", "1"] in [words[:2] for words in table]
        assert "Segmented 2 studies" in result.stdout
        assert "dies, fails could not be segmented" in result.stderr
        assert "note: one: It is odd." in result.stderr
        rows = rows_of(tmp_path / "out" / "cohort.csv")
        assert {name: row["lv_edv_ml"] for name, row in rows.items()} == {
            "one": "120.0", "dies": "", "fails": "", "two": "120.0",
        }  # fmt: skip
        assert rows["fails"]["problem"] == "It is so; do something else."
        assert "signal 9" in rows["dies"]["problem"]

    def test_each_gets_what_the_user_gave_and_its_own(self, cines, tmp_path, commands) -> None:
        result = invoke(
            "propagate", cines[0], cines[3], "--annotation", cines[3], "--annotation", cines[0], "-o", tmp_path / "out",
            "--frame", 2, "--label-map", "acdc", "--device", "cpu", "--annotated-slices", "0:1",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        common = ["--frame", "2", "--annotated-slices", "0:1", "--label-map", "acdc", "--device", "cpu", "--output"]
        assert commands() == [
            ["propagate", str(cines[0]), "--annotation", str(cines[3]), *common, str(tmp_path / "out" / "one")],
            ["propagate", str(cines[3]), "--annotation", str(cines[0]), *common, str(tmp_path / "out" / "two")],
        ]

    def test_resumed_it_skips_what_stands_finished_in_its_folder(self, cines, tmp_path, commands) -> None:
        for _ in range(2):
            result = invoke("segment", *cines, "-o", tmp_path / "out", "--resume")
        done = [Path(command[1]).name.split(".")[0] for command in commands()]
        assert done == ["one", "dies", "fails", "two", "dies", "fails"]
        assert "finished before and skipped: one, two" in result.stderr
        (tmp_path / "out" / "two" / "study.json").unlink()
        invoke("segment", *cines, "-o", tmp_path / "out", "--resume", "--device", "cpu")
        assert Path(commands()[-1][1]).name == "two.nii.gz", "its results are gone"
        assert len(commands()) == 9, "the device makes no difference"
        invoke("segment", *cines, "-o", tmp_path / "out", "--resume", "--label-map", "acdc")
        assert len(commands()) == 13, "another option does"

    def test_what_cannot_be_is_said_at_once(self, cines, tmp_path, commands) -> None:
        for more, said in (
            (("--expert", cines[0]), "belongs to one study"),
            (("--weights", "no-such-weights"), "no-such-weights"),
        ):
            result = invoke("segment", *cines, "-o", tmp_path / "out", *more)
            assert result.exit_code == 1
            assert said in result.stderr
        result = invoke("propagate", *cines, "--annotation", cines[0], "-o", tmp_path / "out")
        assert "4 cines and 1 masks are given" in result.stderr
        result = invoke("segment", cines[0], cines[0], "-o", tmp_path / "out")
        assert "would be named" in result.stderr
        assert not (tmp_path / "out").exists()


def test_two_studies_are_propagated_into_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_study(tmp_path / name)
    cines = [tmp_path / name / "cine.nii.gz" for name in ("one", "two")]
    annotations = [part for name in ("one", "two") for part in ("--annotation", tmp_path / name / "mask0.nii.gz")]
    result = invoke(
        "propagate", *cines, *annotations, "--weights", tmp_path / "one" / "random-cstm.safetensors", "--device", "cpu",
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"one_cine", "two_cine", "cohort.csv"}
    for name, row in rows_of(tmp_path / "out" / "cohort.csv").items():
        told = json.loads((tmp_path / "out" / name / "measures.json").read_text())
        assert float(row["lv_edv_ml"]) == told["lv_edv_ml"]
