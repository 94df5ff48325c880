"""Stand-in for Slicer's Sample Data module: sources can be registered and loaded from files."""

from __future__ import annotations

from typing import Any

import slicer


class SampleDataSource:
    """What was registered."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class SampleDataLogic:
    """Sources by category in `slicer.modules.sampleDataSources`."""

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileType: Any = None,
        loadFiles: Any = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        loadFileTypes: Any = None,
    ) -> None:
        """Register a source; a name that is there already is replaced."""
        source = SampleDataSource(
            sampleName=sampleName, uris=uris, fileNames=fileNames, nodeNames=nodeNames, checksums=checksums,
            customDownloader=customDownloader, thumbnailFileName=thumbnailFileName, loadFiles=loadFiles,
            loadFileTypes=loadFileTypes or loadFileType, loadFileProperties=loadFileProperties or {},
        )  # fmt: skip
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources.setdefault(category, [])
        sources[:] = [s for s in sources if s.sampleName != sampleName] + [source]

    def sourceForSampleName(self, sampleName: str) -> SampleDataSource | None:
        every = [s for sources in slicer.modules.sampleDataSources.values() for s in sources]
        return next((s for s in every if s.sampleName == sampleName), None)

    def downloadSamples(self, sampleName: str) -> Any:
        """Load a source by its own loader, or its files by their addresses; only files of this machine are read."""
        source = self.sourceForSampleName(sampleName)
        if source.customDownloader is not None:
            return source.customDownloader(source)
        loaded = []
        for uri, kind in zip(_listed(source.uris), _listed(source.loadFileTypes), strict=True):
            path = uri.removeprefix("file://")
            loaded.append(slicer.util.loadNodeFromFile(path, kind, dict(source.loadFileProperties)))
        return loaded


def _listed(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def downloadSample(sampleName: str) -> Any:
    """Load the sample by its name."""
    return SampleDataLogic().downloadSamples(sampleName)
