"""How are sites registered, enrolled, mapped and drained over HTTP?"""

from __future__ import annotations

from fastapi import Response

from cesai.access import service as access
from cesai.access.callers import Anyone, Operator, SignedIn, SiteAdmin, guarded_router
from cesai.contract.messages import EnrolReply, EnrolRequest
from cesai.db.idempotency import Once
from cesai.db.paging import Page, PageParams
from cesai.db.session import Db, Now
from cesai.sites import service
from cesai.sites.schemas import (
    DrainingIn,
    EnrolmentOut,
    GpuClassIn,
    GpuClassOut,
    InventoryOut,
    MappingIn,
    ResetOut,
    SiteIn,
    SiteOut,
)

router = guarded_router(tags=["sites"])
agent_router = guarded_router(prefix="/agent/v1", tags=["agent"])


@router.post("/gpu-classes", status_code=201, response_model=GpuClassOut)
def add_gpu_class(body: GpuClassIn, caller: Operator, db: Db, once: Once, now: Now) -> Response:
    """Take a kind of GPU into the catalogue."""
    return once(lambda: GpuClassOut.of(service.add_gpu_class(db, body.to_rule(), by=caller, now=now)))


@router.get("/gpu-classes")
def list_gpu_classes(caller: SignedIn, db: Db, page: PageParams) -> Page[GpuClassOut]:
    """List the catalogue."""
    return Page[GpuClassOut].of(service.gpu_classes_page(db, page), GpuClassOut.of)


@router.post("/sites", status_code=201, response_model=SiteOut)
def register(body: SiteIn, caller: Operator, db: Db, once: Once, now: Now) -> Response:
    """Take a site in; its admin enrols its agent next."""
    return once(lambda: SiteOut.of(service.register(db, body.to_rule(), by=caller, now=now), (), now=now))


@router.get("/sites")
def list_sites(caller: SignedIn, db: Db, page: PageParams, now: Now) -> Page[SiteOut]:
    """List the sites and how well each is heard."""
    pools = service.pools(db)
    return Page[SiteOut].of(service.sites_page(db, page), lambda site: SiteOut.of(site, pools, now=now))


@router.get("/sites/{site_id}")
def show_site(site_id: str, caller: SignedIn, db: Db, now: Now) -> SiteOut:
    """Show one site."""
    return SiteOut.of(service.site(db, site_id), service.pools(db, site_id), now=now)


@router.post("/sites/{site_id}/enrolments", status_code=201, response_model=EnrolmentOut)
def make_enrolment(site_id: str, caller: SiteAdmin, db: Db, once: Once, now: Now) -> Response:
    """Make a one-time token with which the site's agent enrols."""
    return once(lambda: EnrolmentOut.model_validate(service.make_enrolment(db, site_id, by=caller, now=now)))


@router.post("/sites/{site_id}/agent/reset", response_model=ResetOut)
def reset_agent(site_id: str, caller: Operator, db: Db, once: Once, now: Now) -> Response:
    """Let the next instance of the site's agent that speaks be the only one."""

    def reset() -> ResetOut:
        service.reset_agent(db, site_id, by=caller, now=now)
        return ResetOut(site_id=site_id)

    return once(reset)


@router.get("/sites/{site_id}/inventory")
def show_inventory(site_id: str, caller: SiteAdmin, db: Db) -> InventoryOut:
    """Show what the site has, and which GPU class each pool seems to be and is."""
    return InventoryOut.of(service.inventory(db, site_id))


@router.put("/sites/{site_id}/mapping")
def confirm_mapping(site_id: str, body: MappingIn, caller: SiteAdmin, db: Db, now: Now) -> InventoryOut:
    """Say which GPU class each pool is; one that is not named has none from now on."""
    entries = [entry.to_rule() for entry in body.entries]
    service.confirm_mapping(db, site_id, entries, by=caller, now=now)
    return InventoryOut.of(service.inventory(db, site_id))


@router.put("/sites/{site_id}/draining")
def set_draining(site_id: str, body: DrainingIn, caller: SiteAdmin, db: Db, now: Now) -> SiteOut:
    """Let the site take no new jobs, or take them again; what runs there goes on."""
    site = service.set_draining(db, site_id, is_draining=body.is_draining, by=caller, now=now)
    return SiteOut.of(site, service.pools(db, site_id), now=now)


@agent_router.post("/enrol", status_code=201)
def enrol(body: EnrolRequest, caller: Anyone, db: Db, now: Now) -> EnrolReply:
    """Take an agent in. The one-time token in the body is the credential, and it can be used once."""
    return access.enrol(db, body, now=now)
