"""Levels carried with a workflow: a picture runs the same where its schedule's file never was.

The schedule that a node has used, its calibrated samplers included, is kept as JSON in that node's
properties, see schedules/store/workflow_json.py. The node puts it there itself, into the workflow
that every picture of the same run is saved with, and hands it to the page, which keeps it for later
runs.

Instances of a subgraph share its nodes, but each may have used another schedule. So what a node in
a subgraph has used is kept in the node of the workflow that stands for it, under "ays_schedules"
and the rest of its id. A graph that comes without a workflow has it beside the graph, under
"ays_schedules" and the node's id.

A node whose output the host still has does not run again, but its pictures are saved with the
workflow all the same: what it will have used is put there when it is queued.

What comes back with a workflow may come from anywhere: it is read like a file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from ...schedules import SavedSchedule, reason, visible
from ...schedules.store import workflow_json
from .. import host

__all__ = ["PROPERTY", "carried_by", "carry", "carry_ahead"]

PROPERTY = "ays_schedule"
PLACES = "ays_schedules"  # of a node that stands for a subgraph; in extra_pnginfo: no workflow
LONGEST_ID = 64  # characters of one that are told
DEEPEST = 64  # subgraphs within each other
REMEMBERED = 256
NODES = ("AYSScheduler", "AYSApply", "AYSOptimize")

# What nodes have used last and its digest, by their id (None: any) and the name chosen.
_used: dict[tuple[str | None, str | None], tuple[str, dict[str, Any]]] = {}
log = logging.getLogger("align_your_steps")


def carried_by(node_id: str | None, pnginfo: Any) -> list[SavedSchedule]:
    """The schedules that came with the workflow for a node; none, and a log line, if unreadable.

    The first is the one that the node used, further ones are for other numbers of steps.
    """
    levels = _carried(node_id, pnginfo)
    if levels is None:
        return []
    try:
        return workflow_json.unpacked(levels, "carried")
    except Exception as error:  # hostile content fails in ways that cannot be listed
        log.warning(
            "The schedule that came with this workflow for node %s is not used: %s.",
            visible(str(node_id)[:LONGEST_ID]),
            reason(error),
        )
        return []


def carry(
    node_id: str | None,
    pnginfo: Any,
    used: SavedSchedule | None,
    *,
    chosen: str | None = None,
    more: Iterable[SavedSchedule] = (),
) -> dict[str, Any]:
    """Put the schedule that a node has used into the workflow; the same for the node's `ui`.

    used:   None for one that every machine has, which takes back what was carried before
    chosen: the name in the node's list, if it has one
    more:   results of the same run for other numbers of steps
    """
    levels = _as_json(used, more)
    _put_into(pnginfo, node_id, levels)
    if node_id is not None:
        # The host takes the output of an equal node of another workflow, with another id, too.
        for key in ((node_id, chosen), (None, chosen)):
            _used.pop(key, None)  # the last one used is the last one forgotten
            if used is not None and levels is not None:
                _used[key] = used.digest, levels
        while len(_used) > REMEMBERED:
            _used.pop(next(iter(_used)))
    return {} if levels is None else {PROPERTY: [levels]}


def carry_ahead(queued: Any) -> None:
    """Put into a queued workflow what its nodes name, or what they used last.

    Only what is saved on this machine: what came with a workflow is in it, or was taken out of it.
    A node that runs after all puts what it really used in its place.
    """
    pnginfo = _object(_object(queued, "extra_data"), "extra_pnginfo")
    graph = _object(queued, "prompt")
    if pnginfo is None or graph is None:
        return
    entries = None
    for node_id, node in graph.items():
        if not isinstance(node, dict) or node.get("class_type") not in NODES:
            continue
        chosen = (_object(node, "inputs") or {}).get("schedule")
        if not isinstance(chosen, str | None) or _carried(node_id, pnginfo) is not None:
            continue
        entries = host.store().list() if entries is None else entries
        digest, levels = _used.get((node_id, chosen)) or _used.get((None, chosen)) or ("", None)
        if digest not in {entry.digest for entry in entries.values()}:
            named = entries.get(chosen) if chosen is not None else None
            levels = None if named is None else _as_json(named.saved, ())
        if levels is not None:
            _put_into(pnginfo, node_id, levels)


def _carried(node_id: str | None, pnginfo: Any) -> dict[str, Any] | None:
    """Return what a workflow carries for a node, as it came."""
    properties = _properties(node_id, pnginfo)
    instance, inner = _instance(node_id, pnginfo)
    if inner:
        own = _object(_object(instance, PLACES), inner)
        if own is not None:
            return own or None  # empty: nothing, whatever the shared node has
    # Older workflows have it in the node that all instances share.
    inside = _object(properties, PROPERTY)
    return inside or _object(_object(pnginfo, PLACES), str(node_id))


def _put_into(pnginfo: Any, node_id: str | None, levels: dict[str, Any] | None) -> None:
    properties = _properties(node_id, pnginfo)
    instance, inner = _instance(node_id, pnginfo)
    if properties is not None and inner and instance is not None:
        if levels is None and PROPERTY in properties:
            levels = {}
        places = instance.get(PLACES) if levels is None else instance.setdefault(PLACES, {})
        _put(places, inner, levels)
    elif properties is not None:
        _put(properties, PROPERTY, levels)
    elif isinstance(pnginfo, dict) and node_id is not None:
        _put(pnginfo.setdefault(PLACES, {}), str(node_id), levels)


def _as_json(used: SavedSchedule | None, more: Iterable[SavedSchedule]) -> dict[str, Any] | None:
    if used is None:
        return None
    try:
        levels, left_out = workflow_json.packed(used, list(more))
    except ValueError as error:
        log.warning("The schedule is not carried with the workflow: %s", error)
        return None
    if left_out:
        log.warning("Too much for a workflow: it is carried without %s.", left_out)
    return levels


def _put(where: Any, key: str, value: Any) -> None:
    if not isinstance(where, dict):
        return
    if value is None:
        where.pop(key, None)
    else:
        where[key] = value


def _instance(node_id: str | None, pnginfo: Any) -> tuple[dict[str, Any] | None, str]:
    """Of a node in a subgraph: the properties of the workflow's node that stands for it.

    With the rest of its id; empty for a node that is in no subgraph.
    """
    outer, _, inner = str(node_id).partition(":")
    return (_properties(outer, pnginfo) if inner else None), inner


def _properties(node_id: str | None, pnginfo: Any) -> dict[str, Any] | None:
    """The properties of a node of the workflow, made if it has none; None if it is not there.

    "5:3" is node 3 of the subgraph that node 5 stands for.
    """
    workflow = _object(pnginfo, "workflow")
    definitions = _list_at(_object(workflow, "definitions"), "subgraphs")
    graph, node = workflow, None
    for part in str(node_id).split(":", DEEPEST):  # a hostile subgraph may hold itself
        if node is not None:  # go into the subgraph whose id is the node's type
            graph = _with_id(definitions, node.get("type"))
        node = _with_id(_list_at(graph, "nodes"), part)
        if node is None:
            return None
    properties = None if node is None else node.setdefault("properties", {})
    return properties if isinstance(properties, dict) else None


def _object(where: Any, key: str) -> dict[str, Any] | None:
    value = where.get(key) if isinstance(where, dict) else None
    return value if isinstance(value, dict) else None


def _list_at(where: Any, key: str) -> list[Any]:
    value = where.get(key) if isinstance(where, dict) else None
    return value if isinstance(value, list) else []


def _with_id(things: list[Any], wanted: Any) -> dict[str, Any] | None:
    """The first object with an id, which is a number in one place and text in another."""
    if not isinstance(wanted, int | str):  # hostile lists may be too deep to be made text
        return None
    objects = (thing for thing in things if isinstance(thing, dict))
    named = (thing for thing in objects if isinstance(thing.get("id"), int | str))
    return next((thing for thing in named if str(thing["id"]) == str(wanted)), None)
