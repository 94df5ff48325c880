"""Masks as DICOM: one Segmentation object for every frame of the cine, all in one series."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..anatomy import Code, Structure
from ..atomic import atomic_path
from ..cine import Cine, Segmentation, Status
from ..errors import CardiacSegError
from ..weights import WeightsCard
from .dicom_sources import DicomSource, quiet

if TYPE_CHECKING:
    from highdicom.seg import Segmentation as DicomSegmentation
    from highdicom.seg import SegmentDescription
    from pydicom import DataElement, Dataset

PRODUCT = "CardiacSeg"
_ANATOMY = Code("SCT", "91723000", "Anatomical Structure")
_TISSUE = Code("SCT", "85756007", "Tissue")  # the type of a structure that nobody has coded
_AI = Code("DCM", "123110", "Artificial Intelligence")


def write_dicom_seg(
    folder: str | Path,
    segmentation: Segmentation,
    cine: Cine,
    source: DicomSource,
    weights: WeightsCard | None = None,
    phases: dict[str, int | None] | None = None,
) -> list[Path]:
    """Write seg_frameNN.dcm into the folder for every frame in which a slice is segmented; returns the paths.

    The standard has no time axis for segmentations, so each frame is an object of its own (PS3.3 A.51) that names the
    images of its frame; together they are one series. A structure has the same segment number and tracking UID in
    all of them. weights: what predicted slices, None where that is not known. phases: {"ED": frame, "ES": frame}, named
    in the descriptions. Raises CardiacSegError if highdicom is missing, nothing is segmented, or a file cannot be
    written.
    """
    folder, hd = Path(folder), import_highdicom()
    structures = [s for s in segmentation.structures if (segmentation.labels == s.value).any()]
    frames = np.flatnonzero((segmentation.status != Status.EMPTY).any(axis=1))
    if not len(frames) or not structures:
        raise CardiacSegError(f"{cine.name} has no segmented slice; segment it before the DICOM export.")
    series, paths = hd.UID(), []
    for frame in frames:
        images = source.images(frame)
        descriptions = _descriptions(structures, segmentation, images[0], weights)
        text = _description(int(frame), cine, phases or {})
        with quiet(), explained(cine):
            masks = np.stack([segmentation.labels[frame] == s.value for s in structures], axis=-1).astype(np.uint8)
            dataset = _object(series, int(frame), images, cine, masks, descriptions, text)
        path = folder / f"seg_frame{frame:02d}.dcm"
        with atomic_path(path) as temporary, quiet():
            dataset.save_as(temporary)
        paths.append(path)
    return paths


def import_highdicom():
    """The package highdicom. Raises CardiacSegError if it is not installed."""
    try:
        import highdicom
        import highdicom.seg
        import highdicom.sr
    except ImportError as error:
        raise CardiacSegError(
            "DICOM export needs the package highdicom; install it with 'cardiacseg[dicom]'."
        ) from error
    return highdicom


@contextmanager
def explained(cine: Cine) -> Iterator[None]:
    """Turn what highdicom finds wrong with values of the images' headers into one sentence without these values."""
    try:
        yield
    except ValueError as error:
        raise CardiacSegError(
            f"The DICOM headers of {cine.name} hold values that break the standard, so that nothing can refer to these "
            "images; export NIfTI or NRRD."
        ) from error


def _description(frame: int, cine: Cine, phases: dict[str, int | None]) -> str:
    phase = "".join(f", {name}" for name, number in phases.items() if number == frame)
    time = f", {cine.times[frame]:.0f} ms" if cine.times_known else ""
    return f"Frame {frame} of 0 to {cine.shape[0] - 1}{time}{phase}"


def _object(
    series: str,
    frame: int,
    images: Sequence[Dataset],
    cine: Cine,
    masks: np.ndarray,
    descriptions: list[SegmentDescription],
    text: str,
) -> DicomSegmentation:
    """masks: (Z, Y, X, segments) of 0 and 1, on the cine's grid, whose planes name the images that lie in them."""
    import highdicom as hd

    dataset = hd.seg.Segmentation(
        source_images=_as_one_series(images),
        **_grid(cine, images[0]),
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=series,
        series_number=series_number(images[0], 0),
        sop_instance_uid=hd.UID(),
        instance_number=frame + 1,
        manufacturer=PRODUCT,
        manufacturer_model_name=PRODUCT,
        software_versions=__version__,
        device_serial_number=__version__,
        content_label=f"FRAME_{frame}",
        content_description=text,
        series_description=f"{PRODUCT} segmentation",
    )
    dataset.ReferencedSeriesSequence = _by_series(dataset.ReferencedSeriesSequence, images)
    _restore_classes(dataset, images)
    dataset.SegmentsOverlap = "NO"
    return dataset


def _grid(cine: Cine, image: Dataset) -> dict[str, object]:
    """Where the planes lie, how they are turned and how far their pixels are apart, as highdicom takes it."""
    import highdicom as hd

    system = hd.CoordinateSystemNames.PATIENT
    corners = [(cine.affine @ [0, 0, index, 1])[:3].tolist() for index in range(cine.shape[1])]
    axes = (cine.affine[:3, :2] / cine.spacing[:2]).T
    x, y, z = cine.spacing.tolist()
    return {
        "plane_positions": [hd.PlanePositionSequence(system, corner) for corner in corners],
        "plane_orientation": hd.PlaneOrientationSequence(system, axes.ravel().tolist()),
        "pixel_measures": hd.PixelMeasuresSequence((y, x), float(image.SliceThickness), z),
    }


def series_number(image: Dataset, offset: int) -> int:
    """A number for a series that is derived from the image's: high, so that it stands behind the acquired ones."""
    return int(image.get("SeriesNumber") or 0) % 100_000 * 100 + 90 + offset


def _as_one_series(images: Sequence[Dataset]) -> list[Dataset]:
    """The images as highdicom wants them: single frames of one series in one frame of reference.

    Some scanners make every slice a series, and some anonymisers give every image a frame of reference of its own.
    """
    from pydicom import Dataset
    from pydicom.uid import CTImageStorage, MRImageStorage

    first, copies = images[0], []
    for image in (one for one in images if (one.Rows, one.Columns) == (first.Rows, first.Columns)):
        one = Dataset()
        one.update(image)  # the elements are shared with the image, so they are replaced and not changed
        for keyword in ("SeriesInstanceUID", "FrameOfReferenceUID"):
            one.add_new(keyword, "UI", first[keyword].value)
        one.add_new("SOPClassUID", "UI", CTImageStorage if one.Modality == "CT" else MRImageStorage)
        copies.append(one)
    return copies


def _restore_classes(dataset: Dataset, images: Sequence[Dataset]) -> None:
    """Let each reference name the class that its image really has."""
    classes = {str(image.SOPInstanceUID): image.SOPClassUID for image in images}

    def restore(item: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and str(element.value) in classes:
            item.ReferencedSOPClassUID = classes[str(element.value)]

    dataset.walk(restore)


def _by_series(references: Sequence[Dataset], images: Sequence[Dataset]) -> list[Dataset]:
    """The same references, each under the series that its image really belongs to."""
    from pydicom import Dataset

    series = {str(image.SOPInstanceUID): str(image.SeriesInstanceUID) for image in images}
    items = [item for reference in references for item in reference.ReferencedInstanceSequence]
    grouped: list[Dataset] = []
    for uid in dict.fromkeys(series.values()):
        group = Dataset()
        group.ReferencedInstanceSequence = [i for i in items if series[str(i.ReferencedSOPInstanceUID)] == uid]
        group.SeriesInstanceUID = uid
        grouped.append(group)
    return grouped


def _descriptions(
    structures: Sequence[Structure], segmentation: Segmentation, image: Dataset, weights: WeightsCard | None
) -> list[SegmentDescription]:
    """What each segment is and who made it: a program, a program with a person's slices, or a person alone."""
    import highdicom as hd
    from highdicom.color import CIELabColor

    kinds = hd.seg.SegmentAlgorithmTypeValues
    found, drawn = (segmentation.status == Status.PREDICTED).any(), segmentation.fixed.any()
    kind = kinds.MANUAL if not found else kinds.SEMIAUTOMATIC if drawn else kinds.AUTOMATIC
    algorithm = algorithm_identification(weights) if found else None
    descriptions = []
    for number, structure in enumerate(structures, 1):
        kind_code = structure.code or _TISSUE
        description = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=structure.name,
            segmented_property_category=coded(_ANATOMY if structure.code else _TISSUE),
            segmented_property_type=coded(kind_code),
            algorithm_type=kind,
            algorithm_identification=algorithm,
            tracking_uid=tracking_uid(image, structure.name),
            tracking_id=structure.name,
            display_color=CIELabColor.from_rgb(*(255 * part for part in structure.color)),
        )
        descriptions.append(description)
    return descriptions


def algorithm_identification(weights: WeightsCard | None):
    """Name, version and weights of what predicted the masks, as highdicom's AlgorithmIdentificationSequence."""
    import highdicom as hd

    parameters = {"weights": "not known"}
    if weights is not None:
        parameters = {"weights": weights.name, "sha256": weights.sha256, "licence": weights.licence}
    return hd.AlgorithmIdentificationSequence(
        name=f"{PRODUCT} {weights.network}" if weights is not None else PRODUCT,
        family=coded(_AI),
        version=__version__,
        source=PRODUCT,
        parameters=parameters,
    )


def coded(code: Code):
    """A code as highdicom takes it."""
    import highdicom as hd

    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def tracking_uid(image: Dataset, name: str) -> str:
    """The UID of one thing in one study: the same in every frame and in every export."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{image.StudyInstanceUID} {name}').int}"
