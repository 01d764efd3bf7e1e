"""The state of one process, for load balancers and monitors."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from polytill.app import Polytill
from polytill.domain.errors import NotNow
from polytill.flows.admin import readiness
from polytill.web.api.models.platform import Readiness, ServiceStatus
from polytill.web.api.responses import respond

router = APIRouter(tags=["service"])


@router.get("/healthz", response_model=ServiceStatus)
async def check_process() -> Response:
    """Check that the process is alive."""
    return respond(ServiceStatus("ok"))


@router.get("/readyz", response_model=Readiness)
async def check_readiness(request: Request) -> Response:
    """Check that payments can be taken.

    200 with `status: degraded` and the reasons if something else does not work, such as the owner database, with the
    number of practices that can take payments. 503 if no practice can be served.
    """
    till: Polytill = request.app.state.till
    found = await readiness.check(till.context)
    request.app.state.metrics.degraded(found.degraded)
    if found.red is not None:
        raise NotNow(found.red.sentence, code=found.red.code)
    return respond(Readiness.from_record(found))
