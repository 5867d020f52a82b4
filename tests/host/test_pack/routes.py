"""HTTP routes by which a test reads and sets what goes on inside the server.

GET /ays_test/calls       {"calls": n, "rows": n}: network calls since the last reset
GET /ays_test/largest     {"rows": n}: those of the largest call
GET /ays_test/cpu         {"seconds": s}: processor time of the server's process
GET /ays_test/memory      {"device": name, "allocated": n, "reserved": n}: the GPU, and its
                          bytes in tensors and reserved for them, at the peak since the last
                          reset; all null without one
GET /ays_test/delay?ms=x  every network call takes x milliseconds more
GET /ays_test/fail?kind=k calls of the test models fail from now on: `Fault` with this kind and
                          the numbers call, times, low, high, row, where they are given
GET /ays_test/fits?rows=n memory is exhausted by network calls of more rows
GET /ays_test/sigmas      the lines recorded by AYSTestRecord
GET /ays_test/reset       no calls, no delay, no fault, no lines, memory for any number of rows,
                          and what is free on the GPU given back, for peaks to begin anew
GET /ays_test/objects     {"patchers": n, "models": n, "wrapped": n, "tensors": n, "all": n,
                          "bytes": n}: live MODELs, the networks behind them, those MODELs that
                          carry a wrapper around their prediction, tensors, all that Python's
                          garbage collector knows, and the memory of the process
"""

from __future__ import annotations

import gc
import json
import time

import comfy.model_management
import psutil
import torch
from aiohttp import web
from align_your_steps.tests.torture.failing import Fault
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from server import PromptServer
from torch import Tensor

from .inspection import record_file
from .meter import METER

__all__ = ["add"]


def add() -> None:
    """Add the routes to the host's server."""
    routes = PromptServer.instance.routes
    routes.get("/ays_test/calls")(calls)
    routes.get("/ays_test/largest")(largest)
    routes.get("/ays_test/cpu")(cpu)
    routes.get("/ays_test/memory")(memory)
    routes.get("/ays_test/delay")(delay)
    routes.get("/ays_test/fail")(fail)
    routes.get("/ays_test/fits")(fits)
    routes.get("/ays_test/sigmas")(sigmas)
    routes.get("/ays_test/reset")(reset)
    routes.get("/ays_test/objects")(objects)


async def calls(request: web.Request) -> web.Response:
    """Answer the number of network calls and of their rows."""
    return web.json_response({"calls": METER.calls, "rows": METER.rows})


async def largest(request: web.Request) -> web.Response:
    """Answer the rows of the largest network call."""
    return web.json_response({"rows": METER.most})


async def cpu(request: web.Request) -> web.Response:
    """Answer the processor time that the process has taken."""
    return web.json_response({"seconds": time.process_time()})


async def memory(request: web.Request) -> web.Response:
    """Answer the peaks of the GPU's memory."""
    gpu = comfy.model_management.get_torch_device().type == "cuda"
    answer = {
        "device": torch.cuda.get_device_name() if gpu else None,
        "allocated": torch.cuda.max_memory_allocated() if gpu else None,
        "reserved": torch.cuda.max_memory_reserved() if gpu else None,
    }
    return web.json_response(answer)


async def delay(request: web.Request) -> web.Response:
    """Set the delay of each network call."""
    METER.delay_ms = float(request.query["ms"])
    return web.json_response({"ms": METER.delay_ms})


async def fail(request: web.Request) -> web.Response:
    """Let network calls fail."""
    numbers = {key: float(value) for key, value in request.query.items() if key != "kind"}
    if "row" in numbers:
        numbers["row"] = int(numbers["row"])
    memory = comfy.model_management.OOM_EXCEPTION
    METER.fault = Fault(request.query["kind"], **numbers, memory=memory)
    return web.json_response({"kind": METER.fault.kind})


async def fits(request: web.Request) -> web.Response:
    """Set the most rows of a network call."""
    METER.fits = int(request.query["rows"])
    return web.json_response({"rows": METER.fits})


async def sigmas(request: web.Request) -> web.Response:
    """Answer the recorded lines, oldest first."""
    path = record_file()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return web.json_response([json.loads(line) for line in lines])


async def reset(request: web.Request) -> web.Response:
    """Set everything back to the start."""
    METER.reset()
    if comfy.model_management.get_torch_device().type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    record_file().unlink(missing_ok=True)
    return web.json_response({})


async def objects(request: web.Request) -> web.Response:
    """Answer what is alive after a collection."""
    gc.collect()
    # By type(): isinstance would look into lazy objects and wake them.
    alive = [(thing, type(thing)) for thing in gc.get_objects()]
    patchers = [thing for thing, kind in alive if issubclass(kind, ModelPatcher)]
    wrapped = [p for p in patchers if p.wrappers.get(WrappersMP.PREDICT_NOISE, {})]
    answer = {
        "patchers": len(patchers),
        "models": sum(issubclass(kind, BaseModel) for _, kind in alive),
        "wrapped": len(wrapped),
        "tensors": sum(issubclass(kind, Tensor) for _, kind in alive),
        "all": len(alive),
        "bytes": psutil.Process().memory_info().rss,
    }
    return web.json_response(answer)
