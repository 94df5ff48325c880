"""Nothing asks the network for anything, and nothing of the patient is printed, logged or left behind."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_files import Scan, write

from CardiacSegLib.phantom import beating_heart
from CardiacSegLib.selftest import random_weights
from CardiacSegLib.writers.images import write_segmentation

ROOT = Path(__file__).resolve().parents[1]
SECRETS = {
    "PatientName": "Ziegenpeter^Kunigunde", "PatientID": "QX-4711-PID", "PatientBirthDate": "19370519",
    "PatientAddress": "Holunderweg 99", "AccessionNumber": "ACC0815X", "ReferringPhysicianName": "Quacksalber^Emil",
    "InstitutionName": "Klinikum Hinterwald", "OtherPatientIDs": "ALTID-333", "PatientTelephoneNumbers": "0190-555-777",
    "PatientComments": "sehr vertraulich",
}  # fmt: skip
WORDS = [
    word.encode()
    for secret in SECRETS.values()
    for word in (secret, *secret.split("^"), secret.replace("^", " "), secret.replace("^", ", "))
]
WORDS += [b"1937-05-19", b"19.05.1937", b"19 May 1937"]

SITE = """
import logging, os, socket, sys

def refuse(event, arguments):
    network = event == "socket.__new__" and arguments[1] in (socket.AF_INET, socket.AF_INET6)
    if network or event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{event} {arguments}\\n")
        raise RuntimeError("no network here")

sys.addaudithook(refuse)
with open(os.environ["PROCESS_LOG"], "a") as log:
    log.write(f"{os.getpid()}\\n")
logging.basicConfig(level=logging.DEBUG)
"""
"""A sitecustomize.py: no process below may ask the network for anything, and all of them log all that they can."""

WORK = """
import json, os, sys
from pathlib import Path
from typer.testing import CliRunner
from CardiacSegLib import cli
from CardiacSegLib.readers import read_annotation, read_cine
from CardiacSegLib.worker import WorkerEngine

for arguments in json.loads(sys.argv[1]):
    code = 0
    print("COMMAND", arguments[0], flush=True)
    try:
        cli.app(arguments)
    except SystemExit as end:
        code = end.code
    print("ENDED", code, flush=True)
cine = read_cine(sys.argv[2])
worker = WorkerEngine(weights=sys.argv[4], device="cpu")
found = list(worker.segment(cine, read_annotation(sys.argv[3], cine)))
print("FOUND", len(found), "BY", worker.pid, flush=True)
worker.close()
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """All commands on a study whose every file names the patient, in one process; and its working folder."""
    folder = tmp_path_factory.mktemp("work")
    heart = beating_heart(3, frames=4, slices=3, size=48, spacing=(3.5, 3.5, 14.0))
    stored = np.clip(heart.cine.frames, 0, 4000).astype(np.uint16)
    scan = Scan(stored, heart.cine.affine, heart.cine.times + 20)
    write(scan, folder / "study", **SECRETS)
    write(scan, folder / "two", **SECRETS)
    other = {"PatientName": "Other^One", "PatientID": "another"}
    write(
        Scan(stored, heart.cine.affine, heart.cine.times + 20, series="1.2.9"), folder / "two" / "b", **SECRETS | other
    )
    labels = np.zeros_like(heart.truth.labels)
    labels[0] = heart.truth.labels[0]
    write_segmentation(
        type(heart.truth)(labels, heart.truth.status, heart.cine.affine), folder / "mask.nii.gz", heart.cine
    )
    memory, unet = random_weights(folder), random_weights(folder, "unet")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    (folder / "temporary").mkdir()
    study, mask, cpu = str(folder / "study"), str(folder / "mask.nii.gz"), ("--device", "cpu")
    out = {name: ("-o", str(folder / "out" / name)) for name in ("p", "s", "m", "r", "e", "x")}
    masks = str(folder / "out" / "p" / "segmentation.nii.gz")
    formats = [part for kind in ("nii.gz", "seg.nrrd", "csv") for part in ("--format", kind)]
    commands = [
        ["inspect", study],
        ["propagate", study, "--annotation", mask, "--weights", str(memory), *cpu, *out["p"]],
        ["segment", study, "--weights", str(unet), *cpu, *out["s"]],
        ["measure", masks, "--cine", study, *out["m"]],
        ["report", str(folder / "out" / "p"), "--without-patient", *out["r"]],
        ["export", str(folder / "out" / "p"), *formats, *out["e"]],
        ["inspect", str(folder / "two")],
        ["propagate", str(folder / "two"), "--annotation", mask, *cpu, *out["x"]],
    ]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)]), "TMPDIR": str(folder / "temporary"),
        "NETWORK_LOG": str(folder / "network"), "PROCESS_LOG": str(folder / "processes"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", WORK, json.dumps(commands), study, mask, str(memory)],
        cwd=folder, env=environment, capture_output=True,
    )  # fmt: skip
    (folder / "told").write_bytes(told.stdout + told.stderr)
    return folder, told


def test_all_commands_and_the_worker_did_their_work(done) -> None:
    folder, told = done
    codes = [line.split()[1] for line in told.stdout.decode().splitlines() if line.startswith("ENDED")]
    assert codes == ["0"] * 6 + ["1"] * 2, told.stderr.decode()[-3000:]
    found = next(line.split() for line in told.stdout.decode().splitlines() if line.startswith("FOUND"))
    assert found[1] == "9"
    assert found[3] in (folder / "processes").read_text().split(), "the worker was watched too"


def test_none_of_them_asked_the_network_for_anything(done, tmp_path: Path) -> None:
    folder, _ = done
    assert not (folder / "network").exists()
    probe = "import socket\ntry:\n    socket.socket()\nexcept RuntimeError as error:\n    print(error)"
    environment = os.environ | {
        "PYTHONPATH": str(folder / "site"), "NETWORK_LOG": str(tmp_path / "n"), "PROCESS_LOG": str(tmp_path / "p"),
    }  # fmt: skip
    told = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, text=True)
    assert told.stdout == "no network here\n", "this is what would have happened"
    assert (tmp_path / "n").exists()


def test_nothing_of_the_patient_was_printed_logged_or_written(done) -> None:
    folder, told = done
    assert told.stderr.count(b"cardiacseg: ") == 2, "two patients in one folder are refused"
    places = [path for path in folder.rglob("*") if path.is_file() and not {"study", "two"} & set(path.parts)]
    assert len(places) > 20
    for path in places:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        assert [word for word in WORDS if word in content] == [], path
        assert [word for word in WORDS if word in str(path).encode()] == []
    assert b"Ziegenpeter" in next((folder / "study").iterdir()).read_bytes(), "all of it was there to be told"


def test_nothing_is_left_in_the_folder_for_temporary_files_or_hidden_in_the_results(done) -> None:
    folder, _ = done
    assert list((folder / "temporary").iterdir()) == []
    assert [path for path in (folder / "out").rglob(".*")] == []
    assert not (folder / "out" / "x").exists()
