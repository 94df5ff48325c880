"""The report's words and tables, made of nothing but what measures.json holds, so that page and PDF say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..words import MEASURES, METHODS

NOTHING = "–"  # noqa: RUF001 - what stands for a value that is not known
_FACTS = {
    "patient_name": "Patient", "patient_id": "Patient ID", "birth_date": "Born", "sex": "Sex", "age": "Age",
    "study_date": "Study date", "study": "Study", "series": "Series", "accession_number": "Accession number",
    "institution": "Institution", "file": "File",
}  # fmt: skip
# key (of LV and RV, or of the LV alone), whether the row stands there also without a value (of a stack)
_RESULTS = (
    ("lv_edv_area_length_ml", False),
    ("lv_esv_area_length_ml", False),
    ("lv_sv_area_length_ml", False),
    ("lv_ef_area_length_percent", False),
    ("lv_length_ed_mm", False),
    ("lv_length_es_mm", False),
    ("{}_edv_ml", True),
    ("{}_esv_ml", True),
    ("{}_sv_ml", True),
    ("{}_ef_percent", True),
    ("{}_edvi_ml_per_m2", False),
    ("{}_esvi_ml_per_m2", False),
    ("{}_svi_ml_per_m2", False),
    ("lv_mass_g", True),
    ("lv_massi_g_per_m2", False),
    ("cardiac_output_l_per_min", False),
    ("cardiac_index_l_per_min_per_m2", False),
    ("lv_mid_wall_ed_mm", False),
    ("lv_thickest_segment_ed_mm", False),
)
_CURVES = (
    ("Peak ejection rate (ml/s)", "peak_ejection_rate_ml_per_s", 0),
    ("Peak filling rate (ml/s)", "peak_filling_rate_ml_per_s", 0),
    ("ED to the smallest volume (ms)", "time_to_smallest_ms", 0),
    ("Time to peak ejection (ms)", "time_to_peak_ejection_ms", 0),
    ("Time to peak filling (ms)", "time_to_peak_filling_ms", 0),
)
_SEXES = {"F": "women", "M": "men"}
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """Rows of text under headers; the first column holds labels, the others values."""

    headers: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)


@dataclass(frozen=True)
class Content:
    """All that a report says, without its pictures."""

    title: str
    warning: str
    facts: Pairs
    review: str
    results: Table
    context: Pairs
    norms: Table
    norm_notes: list[str]
    segments: Table
    segment_notes: list[str]
    captions: Pairs
    origin: Pairs
    conventions: list[str]
    remarks: list[str]
    footer: str


def content(data: Mapping) -> Content:
    """The content of a report. data: as report_data."""
    patient, software = data["patient"] or {}, data["software"]
    who = " · ".join(patient[key] for key in ("patient_name", "patient_id", "study_date") if key in patient)
    footer = [who, f"{software['name']} {software['version']}", data["created"], software["use"].split(".")[0]]
    return Content(
        title="Cardiac cine: volumes, function and wall",
        warning=software["use"],
        facts=[(label, patient[key]) for key, label in _FACTS.items() if key in patient],
        review=_review(data["masks"], data["weights"] is not None),
        results=Table(("", "LV", "RV"), _results(data)),
        context=_context(data),
        norms=Table(("", "Value", "Range of the healthy", "Of", "Place"), [_norm(row) for row in data["norms"]]),
        norm_notes=_norm_notes(data["norms"]),
        segments=Table(("Segment", "ED (mm)", "ES (mm)", "Thickening (%)"), _segments(data["segments"])),
        segment_notes=[str(remark) for remark in data["segments"]["remarks"]],
        captions=[(f"{p['phase']}, {p['level']}", f"frame {p['frame']}, slice {p['slice']}") for p in data["pictures"]],
        origin=_origin(data),
        conventions=_conventions(data),
        remarks=[str(remark) for remark in data["images"]["remarks"]],
        footer=" · ".join(part for part in footer if part),
    )


def number(value: object, decimals: int) -> str:
    """A value with so many decimals; a dash for None."""
    return NOTHING if value is None else f"{value:.{decimals}f}"


def _review(masks: Mapping, method_known: bool) -> str:
    """What a person who signs has to know first."""
    count, total = masks["count"], masks["total"]
    if count["empty"]:
        return f"{count['empty']} of {total} slices are not segmented; frames with such slices may be incomplete."
    if count["predicted"]:
        made = "are a program's prediction" if method_known else "were read from a file or predicted by a program"
        return f"{count['predicted']} of {total} slices {made}; no person has confirmed them here."
    return f"All {total} slices were drawn, corrected or confirmed by a person."


def _results(data: Mapping) -> list[tuple[str, ...]]:
    rows, stack = [], not data["conventions"]["long_axis"]
    for key, always in _RESULTS:
        wording = MEASURES[key.format("lv")]
        sides = [data[key.format(side)] for side in ("lv", "rv")] if "{}" in key else [data[key], None]
        if (always and stack) or any(value is not None for value in sides):
            texts = [number(value, wording.decimals) for value in sides]
            rows.append((wording.title_without_side, *(texts if "{}" in key else (texts[0], ""))))
    for label, key, decimals in _CURVES:
        sides = [data[f"{side}_curve"][key] for side in ("lv", "rv")]
        if any(value is not None for value in sides):
            rows.append((label, *(number(value, decimals) for value in sides)))
    return rows


def _context(data: Mapping) -> Pairs:
    """What the values rest on: the two frames, heart rate, body, images."""
    images = data["images"]
    pairs: Pairs = []
    for phase, name in (("ed", "End-diastole (ED)"), ("es", "End-systole (ES)")):
        if data[f"{phase}_frame"] is not None:
            time = data[f"{phase}_time_ms"]
            pairs.append((name, f"frame {data[f'{phase}_frame']}" + ("" if time is None else f", {time:.0f} ms")))
    if data["heart_rate_bpm"] is not None:
        pairs.append(("Heart rate", f"{data['heart_rate_bpm']:.0f} /min"))
    if data["bsa_mosteller_m2"] is not None:
        body = f"{images['height_cm']:.0f} cm, {images['weight_kg']:.0f} kg; "
        pairs.append(("Body surface area", f"{data['bsa_mosteller_m2']:.2f} m² ({body}{data['bsa_formula']})"))
    pixel = " x ".join(f"{step:.2f}" for step in images["pixel_mm"])
    pairs.append(("Images", f"{images['modality']}, {images['frames']} frames, {images['slices']} slices"))
    pairs.append(("Voxels", f"{pixel} mm, slices every {images['slice_distance_mm']:.1f} mm"))
    scanner = " ".join(str(images[key]) for key in ("manufacturer", "model") if key in images)
    if "field_strength_t" in images:
        scanner += f", {images['field_strength_t']:.1f} T"
    return [*pairs, ("Scanner", scanner)] if scanner else pairs


def _norm(row: Mapping) -> tuple[str, ...]:
    label, decimals = MEASURES[row["measure"]].words, MEASURES[row["measure"]].decimals
    value = f"{number(row['value'], decimals)} {row['unit']}"
    limits = f"{number(row['low'], decimals)} to {number(row['high'], decimals)}"
    return label, value, limits, _SEXES[row["sex"]], f"{row['place']} the range" if row["place"] else "not compared"


def _norm_notes(rows: list[Mapping]) -> list[str]:
    """The sources, what to mind, and why a value was not compared; each once."""
    notes = [f"{MEASURES[row['measure']].words}: {row['source']}." for row in rows]
    notes += [row["remark"] for row in rows if row["remark"]]
    notes += [row["unplaced"] for row in rows if row["unplaced"]]
    return list(dict.fromkeys(notes))


def _segments(segments: Mapping) -> list[tuple[str, ...]]:
    """A row for each AHA segment, none where no segment has a value."""
    rows = segments["rows"]
    if all(row["ed_mm"] is None and row["es_mm"] is None for row in rows):
        return []
    return [
        (
            f"{row['number']} {row['name']}",
            number(row["ed_mm"], 1),
            number(row["es_mm"], 1),
            number(row["thickening_percent"], 0),
        )
        for row in rows
    ]


def _origin(data: Mapping) -> Pairs:
    count, card = data["masks"]["count"], data["weights"]
    made = ", ".join(f"{count[name]} {name}" for name in ("predicted", "annotated", "corrected", "reviewed"))
    pairs = [("Slices", f"{made}; {count['empty']} not segmented")]
    if card is None and count["predicted"]:
        pairs.append(("Method", "not recorded: the masks were read from a file"))
    for which, one in (("", card), *(("further ", more) for more in data["more_weights"])):
        if one is not None:
            pairs += [
                (f"{which}method".capitalize(), METHODS.get(one["method"], one["method"])),
                (f"{which}weights".capitalize(), one["name"]),
                (f"SHA-256 of the {which}weights", one["sha256"]),
                ("Trained on", "; ".join(one["data"])),
                (f"Licence of the {which}weights", one["licence"]),
            ]
    return [*pairs, ("Software", f"{data['software']['name']} {data['software']['version']}")]


def _conventions(data: Mapping) -> list[str]:
    rules = data["conventions"]
    keys = ("papillary_muscles", "basal_slices", "volume", "curve", "length", "wall")
    lines = [rules[key] for key in keys if key in rules]
    for phase in ("ed", "es"):
        slices = rules[f"lv_slices_{phase}"]
        if slices:
            lines.append(f"At {phase.upper()} the LV is in the slices {', '.join(map(str, slices))}.")
    if rules["long_axis"]:
        return [*lines, "Frames are counted from zero."]
    base = "first" if rules["base_is_slice_0"] else "last"
    return [*lines, f"Frames and slices are counted from zero; the base is the {base} slice."]
