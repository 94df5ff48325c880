"""A small application on slicer-core and PySide6 that runs scripted Slicer modules without 3D Slicer; see README.md."""
