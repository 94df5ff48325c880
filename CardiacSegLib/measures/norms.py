"""What is normal: published ranges of healthy adults by sex, each with its source, for our contouring convention.

Papillary muscles and trabeculae belong to the cavity here, as in ACDC's masks; sources that count them as mass give an
ejection fraction 6 to 9 points higher and are left out. So is what was not found in a readable copy: volumes, and
everything of the right ventricle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

UK_BIOBANK = (
    "Petersen et al., J Cardiovasc Magn Reson 2017;19:18 (UK Biobank, 804 healthy Caucasians, 1.5 T; papillary muscles "
    "in the cavity)"
)
MESA = (
    "Kawel et al., Circ Cardiovasc Imaging 2012;5:500 (MESA, 300 adults free of heart disease; short axis, mid-cavity)"
)
_REACH = 1.96  # standard deviations, between which 95 % of the healthy lie


@dataclass(frozen=True)
class Norm:
    """Mean and standard deviation of one measure in healthy people of one sex ("F" or "M").

    measure: the key in measures.json. ages: first and last year of age that were studied, None where the source that
    was read does not give them. remark: what to mind when comparing, or "".
    """

    measure: str
    unit: str
    sex: str
    mean: float
    sd: float
    ages: tuple[int, int] | None
    source: str
    remark: str = ""

    @property
    def low(self) -> float:
        """Lower end of the middle 95 %."""
        return self.mean - _REACH * self.sd

    @property
    def high(self) -> float:
        """Upper end of the middle 95 %."""
        return self.mean + _REACH * self.sd


_SURFACE = "The source's formula of the body surface area was not confirmed; ours is Mosteller's."
_NO_AGE = "The source found no relation to age."
NORMS: tuple[Norm, ...] = (
    Norm("lv_ef_percent", "%", "F", 61, 5, (45, 74), UK_BIOBANK),
    Norm("lv_ef_percent", "%", "M", 58, 5, (45, 74), UK_BIOBANK),
    Norm("lv_massi_g_per_m2", "g/m²", "F", 42, 7, (45, 74), UK_BIOBANK, _SURFACE),
    Norm("lv_massi_g_per_m2", "g/m²", "M", 53, 9, (45, 74), UK_BIOBANK, _SURFACE),
    Norm("lv_mid_wall_ed_mm", "mm", "F", 5.3, 0.9, None, MESA, _NO_AGE),
    Norm("lv_mid_wall_ed_mm", "mm", "M", 6.3, 1.1, None, MESA, _NO_AGE),
)


def compare_with_norms(
    measures: Mapping[str, object], sex: str | None, age_years: float | None = None
) -> list[dict[str, object]]:
    """A row for every published range of the measures that are known, fit for JSON.

    measures: keys of measures.json -> values. sex: as in DICOM, "F" or "M"; anything else is not known, and then both
    ranges are listed. age_years: None where not known. Every row has measure, value, unit, sex, low, high (the middle
    95 %), mean, sd, ages, source, remark, and place: "below", "within" or "above"; None where the sex, or an age
    that the source asks for, is not known or not among those studied, and then unplaced says why.
    """
    rows = []
    for norm in NORMS:
        value = measures.get(norm.measure)
        if value is None or (sex in ("F", "M") and norm.sex != sex):
            continue
        unplaced = _why_not(norm, sex, age_years)
        place = "below" if value < norm.low else "above" if value > norm.high else "within"
        limits = {"low": round(norm.low, 2), "high": round(norm.high, 2)}
        facts = {**asdict(norm), "ages": list(norm.ages) if norm.ages else None}
        rows.append({**facts, **limits, "value": value, "place": None if unplaced else place, "unplaced": unplaced})
    return rows


def _why_not(norm: Norm, sex: str | None, age: float | None) -> str | None:
    """Why a value cannot be placed in a range, or None."""
    if sex not in ("F", "M"):
        return "The patient's sex is not known."
    if norm.ages and age is None:
        return f"The patient's age is not known; the range is for {norm.ages[0]} to {norm.ages[1]} years."
    if norm.ages and not norm.ages[0] <= int(age) <= norm.ages[1]:
        return f"The range is for {norm.ages[0]} to {norm.ages[1]} years; the patient is {int(age)}."
    return None
