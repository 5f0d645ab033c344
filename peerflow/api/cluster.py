"""Who is there: task functions that can be called, and living pods."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response

from peerflow.api.context import Api
from peerflow.api.describe import answers
from peerflow.api.json_answer import JsonAnswer
from peerflow.api.models import FunctionList, PodList
from peerflow.api.params import only
from peerflow.api.read_route import ReadRoute
from peerflow.api.render import function_object, pod_object

router = APIRouter(tags=["pods"], default_response_class=JsonAnswer, route_class=ReadRoute, dependencies=[Depends(only())])


@router.get(
    "/tasks", responses=answers(FunctionList, "Task functions that living pods have registered", 400), summary="List task functions"
)
async def list_functions(api: Api) -> Response:
    functions = await api.store.functions()
    return JsonAnswer({"tasks": [function_object(function) for function in functions.values()]})


@router.get("/pods", responses=answers(PodList, "Pods, by start", 400), summary="List pods")
async def list_pods(api: Api) -> Response:
    pods, repairs = await api.store.pods(), await api.store.limbo_repairs()
    return JsonAnswer({"pods": [pod_object(pod) for pod in pods], "limbo_repairs_total": repairs})
