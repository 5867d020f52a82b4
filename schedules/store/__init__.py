"""The store: results as files in a list of folders, and as text in a workflow.

store.py        Store: the results of several folders, one file each
saved_schedule.py SavedSchedule: one result, and its file
json_file.py    the same as a small JSON file, to send and to read
workflow_json.py several of them as a JSON object, for a workflow to carry
listing.py      which results the folders show, and under which names
nearest.py      which of them `auto` takes
changes.py      saving, adding, renaming and deleting, each whole or not at all
stage_files.py  what interrupted optimisations had measured
files.py        the files of a folder: listed, and read with nothing trusted
pictures.py     end points of one seed in a result, which exported files leave out
tensor_file.py  tensors and texts in a safetensors file
json_text.py    JSON text, parsed in bounded memory
version.py      the versions of the formats
safe_open.py    a file opened so that nothing can take its place
atomic_write.py files written whole
folder_lock.py  one writer at a time, among threads and processes
memory_cache.py what was read, remembered in bounded memory
"""

from __future__ import annotations

from .files import JSON, LONGEST_NAME, SAFETENSORS, Entry, content_of, label_of, one_line, slug
from .nearest import CRITERION, GAIN, INTERVAL
from .pictures import PICTURE, TITLES, without_pictures
from .saved_schedule import (
    MAX_OTHERS,
    MAX_SAMPLERS,
    MERGED,
    MODEL,
    SavedSchedule,
    digest_of,
    number,
    read_saved,
    to_bytes,
)
from .stage_files import Unfinished
from .store import Asked, NameTakenError, Store, UnknownNameError

__all__ = [
    "CRITERION",
    "GAIN",
    "INTERVAL",
    "JSON",
    "LONGEST_NAME",
    "MAX_OTHERS",
    "MAX_SAMPLERS",
    "MERGED",
    "MODEL",
    "PICTURE",
    "SAFETENSORS",
    "TITLES",
    "Asked",
    "Entry",
    "NameTakenError",
    "SavedSchedule",
    "Store",
    "Unfinished",
    "UnknownNameError",
    "content_of",
    "digest_of",
    "label_of",
    "number",
    "one_line",
    "read_saved",
    "slug",
    "to_bytes",
    "without_pictures",
]
