"""Rows from files, folders, Hugging Face, memory or LangSmith, checked before anything is paid for."""

from langchain_promptopt._data._files import SUFFIXES, Source, describe_source, read_file
from langchain_promptopt._data._load import (
    Inspected,
    different_inputs,
    examples_of,
    inspect_rows,
    keep_splits,
    load_data,
    must_pass_of,
    references_needed,
    rows_in_order,
    tag_columns,
    unused_columns,
    version_of,
)
from langchain_promptopt._data._rows import Columns
from langchain_promptopt._data._splits import LEAKS, is_split_name, usual_names

__all__ = [
    "LEAKS",
    "SUFFIXES",
    "Columns",
    "Inspected",
    "Source",
    "describe_source",
    "different_inputs",
    "examples_of",
    "inspect_rows",
    "is_split_name",
    "keep_splits",
    "load_data",
    "must_pass_of",
    "read_file",
    "references_needed",
    "rows_in_order",
    "tag_columns",
    "unused_columns",
    "usual_names",
    "version_of",
]
