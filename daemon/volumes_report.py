"""Volumes as rows for programs: the stable shape of what `ringbolt volumes -o json` prints."""

from time import time
from typing import Any

from ringbolt.volumes.health import Ailment
from ringbolt.volumes.inspection import Inspected, Inspection, KindStatus
from ringbolt.volumes.outcome import LockStatus, PublicationStatus

Row = dict[str, Any]  # what json.dumps takes


def document(found: Inspection, lacks: list[str]) -> Row:
    """All of it."""
    return {
        "volumes": [volume(one) for one in found.volumes],
        "orphans": [str(one) for one in found.orphans],
        "kinds": [_kind(one) for one in found.kinds],
        "lacks": lacks,
    }


def volume(one: Inspected) -> Row:
    """One volume."""
    status, stats = one.status, one.stats
    asked = status.volume
    return {
        "id": str(status.volume_id),
        "kind": status.kind.value,
        "namespace": str(asked.namespace) if asked else None,
        "name": one.name or None,
        "device": one.device or None,
        "staged": status.staged.value if status.staged else None,
        "sizeBytes": one.size,
        "usedBytes": stats.bytes_used if stats else None,
        "inodes": stats.inodes_total if stats else None,
        "inodesUsed": stats.inodes_used if stats else None,
        "readonly": asked.readonly if asked else None,
        "encryption": asked.encryption.value if asked else None,
        "publications": [_publication(each) for each in status.publications],
        "lock": _lock(status.lock),
        "quarantined": status.quarantined or None,
        "ailments": [_ailment(each) for each in one.ailments],
    }


def _publication(one: PublicationStatus) -> Row:
    return {
        "target": str(one.target),
        "namespace": str(one.tenant.namespace),
        "pod": one.tenant.pod,
        "uid": one.tenant.uid,
        "readonly": one.readonly,
        "state": one.state.value,
        "ageSeconds": max(0, round(time() - one.since)),
    }


def _lock(lock: LockStatus | None) -> Row | None:
    return {"call": lock.call, "ageSeconds": round(lock.age_s)} if lock else None


def _ailment(one: Ailment) -> Row:
    return {
        "fault": one.fault.value,
        "what": one.what,
        "target": str(one.target) if one.target else None,
        "toDo": one.todo,
    }


def _kind(one: KindStatus) -> Row:
    return {"kind": one.kind.value, "allowed": one.allowed, "lack": one.lack}
