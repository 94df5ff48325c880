"""The library's numbers as real table and plot nodes, updated in place so that views that show them follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import slicer
import vtk

from ..anatomy import LV, Structure
from ..measures import Measures
from ..measures.volumes import AREA_LENGTH
from ..words import MEASURES, shown
from .study import IMAGE, SECOND_VIEW, Study

Curves = Mapping[str, np.ndarray]

_ROLE = "CardiacSeg."


def update_results(
    study: Study, measures: Measures, curves: Mapping[str, np.ndarray], times: np.ndarray | None
) -> None:
    """Write measures and volume curves into the study's tables, and its plot chart from them.

    curves: structure name -> (T,) ml, NaN where nothing is known of a frame; a row appears for every known frame.
    times: (T,) ms, or None where not known; then the chart shows frame numbers.
    """
    known = {name: curve for name, curve in curves.items() if np.isfinite(curve).any()}
    frames = np.flatnonzero(np.any([np.isfinite(curve) for curve in known.values()], axis=0)) if known else []
    axis = "Frame" if times is None else "Time [ms]"
    columns = {"Frame": [int(frame) for frame in frames]}
    if times is not None:
        columns[axis] = [round(float(times[frame]), 3) for frame in frames]
    columns |= {f"{name} [ml]": [round(float(curve[f]), 3) for f in frames] for name, curve in known.items()}
    volumes = _node(study, "vtkMRMLTableNode", "volumes")
    _fill(volumes, columns)
    _fill(_node(study, "vtkMRMLTableNode", "measures"), _measure_columns(measures))
    phases = _node(study, "vtkMRMLTableNode", "ED and ES")
    _fill(phases, _phase_columns(measures, known.get(AREA_LENGTH, known.get("LV")), times, axis))
    structures = (*study.structures, replace(LV, name=AREA_LENGTH))
    shown = [structure for structure in structures if structure.name in known]
    title = f"{study.cine.name}: {measures.volume_method}" if AREA_LENGTH in known else study.cine.name
    _chart(study, title, volumes, phases, axis, shown)


def result_node(study: Study, name: str) -> slicer.vtkMRMLNode | None:
    """The study's node "volumes", "measures", "ED and ES" (tables) or "volume curve" (plot chart), if there is one."""
    return study.masks.GetNodeReference(_ROLE + name)


def remove_results(study: Study) -> None:
    """Take the study's tables and plots out of the scene."""
    roles = [study.masks.GetNthNodeReferenceRole(i) for i in range(study.masks.GetNumberOfNodeReferenceRoles())]
    for role in [role for role in roles if role.startswith(_ROLE) and role not in (IMAGE, SECOND_VIEW)]:
        node = study.masks.GetNodeReference(role)
        if node is not None:
            study.masks.GetScene().RemoveNode(node)


def _measure_columns(measures: Measures) -> dict[str, list]:
    """Name, value and unit of every measure that is known."""
    rows = [
        (MEASURES[key].short, shown(key, value), MEASURES[key].unit)
        for key, value in measures.to_dict().items()
        if key in MEASURES and value is not None
    ]
    names, values, units = zip(*rows, strict=True) if rows else ((), (), ())
    return {"Measure": list(names), "Value": list(values), "Unit": list(units)}


def _phase_columns(
    measures: Measures, curve: np.ndarray | None, times: np.ndarray | None, axis: str
) -> dict[str, list]:
    """The points of the LV curve at ED and ES."""
    frames = [frame for frame in (measures.ed_frame, measures.es_frame) if frame is not None]
    frames = [frame for frame in frames if curve is not None and np.isfinite(curve[frame])]
    places = [frame if times is None else float(times[frame]) for frame in frames]
    return {axis: places, "LV [ml]": [float(curve[frame]) for frame in frames]}


def _chart(
    study: Study,
    title: str,
    volumes: slicer.vtkMRMLTableNode,
    phases: slicer.vtkMRMLTableNode,
    axis: str,
    structures: list[Structure],
) -> None:
    chart = _node(study, "vtkMRMLPlotChartNode", "volume curve")
    series = [_series(study, volumes, axis, structure) for structure in structures]
    points = _node(study, "vtkMRMLPlotSeriesNode", "phases curve")
    points.SetName("ED, ES")
    _plot(points, phases, axis, "LV [ml]")
    points.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleNone)
    points.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleDiamond)
    points.SetMarkerSize(15)
    points.SetColor(0.95, 0.65, 0.1)
    wanted = [node.GetID() for node in (*series, points)]
    present = [chart.GetNthPlotSeriesNodeID(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    if wanted != present:
        chart.RemoveAllPlotSeriesNodeIDs()
        for identifier in wanted:
            chart.AddAndObservePlotSeriesNodeID(identifier)
    chart.SetTitle(title)
    chart.SetXAxisTitle(axis)
    chart.SetYAxisTitle("Volume [ml]")


def _series(study: Study, volumes: slicer.vtkMRMLTableNode, axis: str, structure: Structure) -> slicer.vtkMRMLNode:
    series = _node(study, "vtkMRMLPlotSeriesNode", f"curve {structure.value}")
    series.SetName(structure.name)
    _plot(series, volumes, axis, f"{structure.name} [ml]")
    series.SetLineStyle(slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle)
    series.SetMarkerSize(6)
    series.SetColor(*structure.color)
    return series


def _plot(series: slicer.vtkMRMLPlotSeriesNode, table: slicer.vtkMRMLTableNode, x: str, y: str) -> None:
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetXColumnName(x)
    series.SetYColumnName(y)


def _node(study: Study, kind: str, name: str) -> slicer.vtkMRMLNode:
    """The study's result node of that name, made where there is none."""
    node = result_node(study, name)
    if node is None:
        node = study.masks.GetScene().AddNewNodeByClass(kind, f"{study.cine.name} {name}")
        study.masks.SetNodeReferenceID(_ROLE + name, node.GetID())
    return node


def _fill(node: slicer.vtkMRMLTableNode, columns: Mapping[str, list]) -> None:
    """Replace a table's content in one step."""
    table = vtk.vtkTable()
    for name, values in columns.items():
        if values and isinstance(values[0], str):
            array = vtk.vtkStringArray()
        else:
            array = vtk.vtkIntArray() if name == "Frame" else vtk.vtkDoubleArray()
        array.SetName(name)
        for value in values:
            array.InsertNextValue(value)
        table.AddColumn(array)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetAndObserveTable(table)
