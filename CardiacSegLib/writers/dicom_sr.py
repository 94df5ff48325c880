"""The measures as a DICOM Structured Report: TID 1500, Comprehensive SR, coded, with the images they were read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..anatomy import LV, MYO, RV, Code, Structure
from ..atomic import atomic_path
from ..cine import Cine
from ..errors import CardiacSegError
from ..weights import WeightsCard
from .dicom_seg import PRODUCT, coded, explained, import_highdicom, series_number, tracking_uid
from .dicom_sources import DicomSource, quiet

if TYPE_CHECKING:
    from highdicom.sr import Measurement, MeasurementsAndQualitativeEvaluations
    from pydicom import Dataset

CONVENTIONS = (
    "Papillary muscles and trabeculae count to the cavity. Volume by disc summation, gaps between slices included."
)
_DEVICE_UID = "2.25.193049581241087516578700352758648811852"  # of the product, drawn once at random
_INDEX = Code("DCM", "121425", "Index")
_PROCEDURE = {"MR": Code("SCT", "241620005", "Cardiac MRI"), "CT": Code("SCT", "241547009", "Cardiac CT")}
AREA_LENGTH = (
    "Papillary muscles and trabeculae count to the cavity. Volume by area and length of long-axis slices, an estimate "
    "for ventricles shaped like an ellipsoid."
)
_METHODS = {
    "area-length, one view": Code("DCM", "125205", "Area-Length Single Plane"),
    "area-length, two views": Code("DCM", "125204", "Area-Length Biplane"),
}
_COMMENT = Code("DCM", "121106", "Comment")


@dataclass(frozen=True)
class _Row:
    """How one measure is said in DICOM: its concept (one for each modality where they differ), UCUM unit and frames.

    by_method: it is told how the volumes came about, by the measures' volume_method.
    """

    key: str
    concepts: tuple[Code, ...]
    unit: str
    frames: str
    indexed: bool = False
    by_method: bool = False

    def concept(self, modality: str) -> Code:
        """The concept for images of a modality: the second is the one for CT."""
        return self.concepts[-1 if modality == "CT" else 0]


_ED_VOLUME = {
    LV: Code("LN", "8821-1", "Left Ventricular ED Volume"),
    RV: Code("LN", "8822-9", "Right Ventricular ED Volume"),
}
_ES_VOLUME = {
    LV: Code("LN", "8823-7", "Left Ventricular ES Volume"),
    RV: Code("LN", "8824-5", "Right Ventricular ES Volume"),
}
_STROKE_VOLUME = {LV: Code("SCT", "90096001", "Stroke Volume"), RV: Code("SCT", "429483009", "RV Stroke Volume")}
_STROKE_INDEX = {LV: Code("SCT", "277381004", "Stroke Index"), RV: Code("SCT", "429619008", "RV Stroke Index")}
_EJECTION_FRACTION = {
    LV: (
        Code("LN", "8811-2", "Left ventricular ejection fraction by MR"),
        Code("LN", "8810-4", "Left ventricular ejection fraction by CT"),
    ),
    RV: (
        Code("LN", "8818-7", "Right ventricular ejection fraction by MR"),
        Code("LN", "8817-9", "Right ventricular ejection fraction by CT"),
    ),
}
_MASS = Code("LN", "18087-7", "Left Ventricle Mass")


def _ventricle(name: str, structure: Structure) -> tuple[_Row, ...]:
    return (
        _Row(f"{name}_edv_ml", (_ED_VOLUME[structure],), "ml", "ed"),
        _Row(f"{name}_esv_ml", (_ES_VOLUME[structure],), "ml", "es"),
        _Row(f"{name}_sv_ml", (_STROKE_VOLUME[structure],), "ml", "ed es"),
        _Row(f"{name}_ef_percent", _EJECTION_FRACTION[structure], "%", "ed es"),
        _Row(f"{name}_edvi_ml_per_m2", (_ED_VOLUME[structure],), "ml/m2", "ed", indexed=True),
        _Row(f"{name}_esvi_ml_per_m2", (_ES_VOLUME[structure],), "ml/m2", "es", indexed=True),
        _Row(f"{name}_svi_ml_per_m2", (_STROKE_INDEX[structure],), "ml/m2", "ed es"),
    )


# Codes of PS3.16: volumes CID 3835, ejection fractions CID 3833, the rest of CID 12200 and 12204; BSA of CID 3455.
_GROUPS: tuple[tuple[Structure, tuple[_Row, ...]], ...] = (
    (
        LV,
        (
            *_ventricle("lv", LV),
            _Row("lv_edv_area_length_ml", (_ED_VOLUME[LV],), "ml", "ed", by_method=True),
            _Row("lv_esv_area_length_ml", (_ES_VOLUME[LV],), "ml", "es", by_method=True),
            _Row("lv_sv_area_length_ml", (_STROKE_VOLUME[LV],), "ml", "ed es", by_method=True),
            _Row("lv_ef_area_length_percent", _EJECTION_FRACTION[LV], "%", "ed es", by_method=True),
            _Row("heart_rate_bpm", (Code("LN", "8867-4", "Heart rate"),), "/min", ""),
            _Row("cardiac_output_l_per_min", (Code("SCT", "82799009", "Cardiac Output"),), "l/min", "ed es"),
            _Row("cardiac_index_l_per_min_per_m2", (Code("SCT", "54993008", "Cardiac Index"),), "l/min/m2", "ed es"),
            _Row("bsa_mosteller_m2", (Code("LN", "8277-6", "BSA"),), "m2", ""),
        ),
    ),
    (MYO, (_Row("lv_mass_g", (_MASS,), "g", "ed"), _Row("lv_massi_g_per_m2", (_MASS,), "g/m2", "ed", indexed=True))),
    (RV, _ventricle("rv", RV)),
)  # fmt: skip


def write_dicom_sr(
    path: str | Path,
    measures: Mapping[str, object],
    cine: Cine,
    source: DicomSource,
    weights: WeightsCard | None = None,
) -> None:
    """Write the measures that are known as an Imaging Measurement Report (PS3.16 TID 1500) that is not verified.

    measures: as Measures.to_dict. Values keep their unit (UCUM) and refer to the images of end-diastole and
    end-systole. A value by body surface area has the concept of the value itself, the derivation Index and a unit per
    m2. weights: what predicted the masks. Raises CardiacSegError if highdicom is missing, nothing was measured or the
    file cannot be written.
    """
    hd = import_highdicom()
    with quiet(), explained(cine):
        frames = {phase: measures.get(f"{phase}_frame") for phase in ("ed", "es")}
        groups = [_group(*group, measures, frames, cine.modality, source, weights) for group in _GROUPS]
        groups = [group for group in groups if group is not None]
        if not groups:
            raise CardiacSegError(f"{cine.name} has no measures yet; segment a frame before the DICOM export.")
        report = hd.sr.MeasurementReport(
            observation_context=_context(hd),
            procedure_reported=coded(_PROCEDURE[cine.modality]),
            imaging_measurements=groups,
            title=hd.sr.CodedConcept("126000", "DCM", "Imaging Measurement Report"),
        )
        document = hd.sr.ComprehensiveSR(
            evidence=_evidence(frames, source),
            content=report[0],
            series_instance_uid=hd.UID(),
            series_number=series_number(source.first, 1),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=PRODUCT,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=f"{PRODUCT} measures",
            software_versions=__version__,
            manufacturer_model_name=PRODUCT,
            device_serial_number=__version__,
        )
    with atomic_path(path) as temporary, quiet():
        document.save_as(temporary)


def _context(hd):
    attributes = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=_DEVICE_UID, name=PRODUCT, manufacturer_name=PRODUCT, model_name=PRODUCT, serial_number=__version__
    )
    device = hd.sr.CodedConcept("121007", "DCM", "Device")
    return hd.sr.ObservationContext(observer_device_context=hd.sr.ObserverContext(device, attributes))


def _evidence(frames: Mapping[str, int | None], source: DicomSource) -> list[Dataset]:
    """The images of the frames that were measured, each once."""
    numbers = sorted({frame for frame in frames.values() if frame is not None})
    images = [image for number in numbers for image in source.images(number)]
    return list({str(image.SOPInstanceUID): image for image in images}.values())


def _group(
    structure: Structure,
    rows: Sequence[_Row],
    measures: Mapping[str, object],
    frames: Mapping[str, int | None],
    modality: str,
    source: DicomSource,
    weights: WeightsCard | None,
) -> MeasurementsAndQualitativeEvaluations | None:
    """The known measures of one structure; None where nothing is known of it."""
    import highdicom as hd

    known = [row for row in rows if measures.get(row.key) is not None]
    if not known:
        return None
    site = hd.sr.FindingSite(coded(structure.code))
    method = _METHODS.get(str(measures.get("volume_method")))
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=tracking_uid(source.first, structure.name), identifier=structure.name
        ),
        finding_type=coded(structure.code),
        finding_sites=[site],
        algorithm_id=_algorithm(weights),
        measurements=[_measurement(row, float(measures[row.key]), method, frames, modality, source) for row in known],
    )
    rules = CONVENTIONS if method is None else AREA_LENGTH
    comment = hd.sr.TextContentItem(coded(_COMMENT), rules, hd.sr.RelationshipTypeValues.CONTAINS)
    group[0].ContentSequence.append(comment)
    return group


def _algorithm(weights: WeightsCard | None):
    import highdicom as hd

    if weights is None:
        return hd.sr.AlgorithmIdentification(name=PRODUCT, version=__version__)
    parameters = [f"weights={weights.name}", f"sha256={weights.sha256}", f"licence={weights.licence}"]
    return hd.sr.AlgorithmIdentification(f"{PRODUCT} {weights.network}", __version__, parameters)


def _measurement(
    row: _Row,
    value: float,
    method: Code | None,
    frames: Mapping[str, int | None],
    modality: str,
    source: DicomSource,
) -> Measurement:
    """One number with its unit and the images it was read from."""
    import highdicom as hd

    numbers = [frames[phase] for phase in row.frames.split() if frames[phase] is not None]
    images = [image for number in dict.fromkeys(numbers) for image in source.images(number)]
    references = [
        hd.sr.SourceImageForMeasurement(str(image.SOPClassUID), str(image.SOPInstanceUID)) for image in images
    ]
    return hd.sr.Measurement(
        name=coded(row.concept(modality)),
        value=value,
        unit=hd.sr.CodedConcept(row.unit, "UCUM", row.unit),
        derivation=coded(_INDEX) if row.indexed else None,
        method=coded(method) if row.by_method and method else None,
        referenced_images=references or None,
    )
