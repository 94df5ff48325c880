"""Makes the picture of the README, demo.png, from what `python3 run.py demo` left in results/demo.

.venv/bin/python docs/images/make_demo_picture.py
"""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / "results" / "demo"


def main() -> None:
    """Set the end-systolic frame of the overlay and the curve side by side."""
    frame = json.loads((RESULTS / "measures.json").read_text())["es_frame"]
    with Image.open(RESULTS / "overlay.gif") as gif:
        gif.seek(frame)
        overlay = gif.convert("RGB")
    with Image.open(RESULTS / "curve.png") as image:
        width = 720
        curve = image.convert("RGB").resize(
            (width, round(image.height * width / image.width)), Image.Resampling.LANCZOS
        )
    picture = Image.new("RGB", (overlay.width + width, max(overlay.height, curve.height)), "white")
    picture.paste(overlay, (0, (picture.height - overlay.height) // 2))
    picture.paste(curve, (overlay.width, (picture.height - curve.height) // 2))
    picture.save(HERE / "demo.png", optimize=True)


if __name__ == "__main__":
    main()
