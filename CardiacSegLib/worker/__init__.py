"""An engine in a process of its own: the same face as an engine in process, and one for an event loop."""

from .client import RunState, WorkerEngine, WorkerRun

__all__ = ["RunState", "WorkerEngine", "WorkerRun"]
