"""The record of a run: an append-only journal on disk, or in memory; how to read it and where it lies."""

from langchain_promptopt.store.folder import RunFolder, list_runs, runs_dir
from langchain_promptopt.store.journal import Journal, MemoryStore, Record, record_moves
from langchain_promptopt.store.lines import opening_mark, read_events, visible_events

__all__ = [
    "Journal",
    "MemoryStore",
    "Record",
    "RunFolder",
    "list_runs",
    "opening_mark",
    "read_events",
    "record_moves",
    "runs_dir",
    "visible_events",
]
