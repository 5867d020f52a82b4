"""Levels carried with a workflow: a picture runs the same where its schedule's file never was.

The schedule that a node has used is kept as JSON in that node's properties. The node puts it there
itself, into the workflow that every picture of the same run is saved with, and hands it to the
page, which keeps it for later runs. A graph that comes without a workflow has it beside the graph,
under "ays_schedules" and the node's id.

What comes back with a workflow may come from anywhere: it is read like a file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

from ..schedules import SavedSchedule
from ..schedules.shared import from_json, to_json_bytes

__all__ = ["PROPERTY", "carried_by", "carry"]

PROPERTY = "ays_schedule"
BESIDE = "ays_schedules"  # in extra_pnginfo, where there is no workflow
MORE = "more"  # in the object: results of the same run for other numbers of steps
MOST = 64

log = logging.getLogger("align_your_steps")


def carried_by(node_id: str | None, pnginfo: Any) -> list[SavedSchedule]:
    """The schedules that came with the workflow for a node; none, and a log line, if unreadable.

    The first is the one that the node used, further ones are for other numbers of steps.
    """
    found = _object(_properties(node_id, pnginfo), PROPERTY)
    if found is None:
        found = _object(_object(pnginfo, BESIDE), str(node_id))
    if found is None:
        return []
    try:
        more = found.get(MORE, [])
        if not isinstance(more, list) or len(more) > MOST:
            raise ValueError(f"'{MORE}' is no list of schedules")
        first = {key: value for key, value in found.items() if key != MORE}
        texts = (json.dumps(part).encode() for part in (first, *more))
        return [from_json(text, "carried") for text in texts]
    except Exception as error:  # hostile content fails in ways that cannot be listed
        log.warning(
            "The schedule that came with this workflow for node %s is not used: %s", node_id, error
        )
        return []


def carry(
    node_id: str | None, pnginfo: Any, used: SavedSchedule | None, more: Iterable[Any] = ()
) -> dict[str, Any]:
    """Put the schedule that a node has used into the workflow; the same for the node's `ui`.

    used: None for one that every machine has, which takes back what was carried before
    more: results of the same run for other numbers of steps
    """
    properties = _properties(node_id, pnginfo)
    found = _as_json(used, more)
    if properties is not None:
        _put(properties, PROPERTY, found)
    elif isinstance(pnginfo, dict) and node_id is not None:
        _put(pnginfo.setdefault(BESIDE, {}), str(node_id), found)
    return {} if found is None else {PROPERTY: [found]}


def _as_json(used: SavedSchedule | None, more: Iterable[SavedSchedule]) -> dict[str, Any] | None:
    if used is None:
        return None
    try:
        found: dict[str, Any] = json.loads(to_json_bytes(used))
        others = [json.loads(to_json_bytes(saved)) for saved in more]
    except ValueError as error:
        log.warning("The schedule is not carried with the workflow: %s", error)
        return None
    return {**found, MORE: others} if others else found


def _put(where: Any, key: str, value: Any) -> None:
    if not isinstance(where, dict):
        return
    if value is None:
        where.pop(key, None)
    else:
        where[key] = value


def _properties(node_id: str | None, pnginfo: Any) -> dict[str, Any] | None:
    """The properties of a node of the workflow, made if it has none; None if it is not there.

    "5:3" is node 3 of the subgraph that node 5 stands for.
    """
    workflow = _object(pnginfo, "workflow")
    definitions = _listed(_object(workflow, "definitions"), "subgraphs")
    graph, node = workflow, None
    for part in str(node_id).split(":"):
        if node is not None:  # go into the subgraph whose id is the node's type
            graph = _with_id(definitions, node.get("type"))
        node = _with_id(_listed(graph, "nodes"), part)
        if node is None:
            return None
    properties = None if node is None else node.setdefault("properties", {})
    return properties if isinstance(properties, dict) else None


def _object(where: Any, key: str) -> dict[str, Any] | None:
    value = where.get(key) if isinstance(where, dict) else None
    return value if isinstance(value, dict) else None


def _listed(where: Any, key: str) -> list[Any]:
    value = where.get(key) if isinstance(where, dict) else None
    return value if isinstance(value, list) else []


def _with_id(things: list[Any], wanted: Any) -> dict[str, Any] | None:
    """The first object with an id, which is a number in one place and text in another."""
    objects = (thing for thing in things if isinstance(thing, dict))
    return next((thing for thing in objects if str(thing.get("id")) == str(wanted)), None)
