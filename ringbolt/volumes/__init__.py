"""The room for a pod's storage: which volume is made of what, and where it is mounted.

`volumes` is its door, class `Volumes`, with the verbs validate, create, delete, stage, publish,
unpublish, unstage, stats, expand, snapshot and reset; `spec`, `volume`, `outcome` and `errors` are
what passes through it. Each kind is one module behind the seam that `backend` describes.

    volumes = Volumes(places, policy, backends)    # run, state and kubelet's directories; kinds
    volumes.validate(volume, tenant) -> VolumeId                        policy and form, no effect
    volumes.create(volume, tenant, secrets, deadline) -> Created
    volumes.find(namespace, name) -> tuple[Volume, ...]                 for who only knows a name
    volumes.delete(volume, deadline) -> Deleted | None                  the only one that deletes,
    volumes.reset(volume, deadline) -> Deleted                          or throws away what is above
    volumes.stage(volume, tenant, secrets, deadline) -> Staged          held until `unstage`
    volumes.publish(volume, publication, secrets, deadline) -> Published    stages where needed
    volumes.unpublish(target, deadline) -> Unpublished                  from the path alone
    volumes.unstage(volume_id, deadline) -> bool
    volumes.stats(target, deadline) -> Stats
    volumes.expand(volume, size, secrets, deadline) -> int
    volumes.snapshot(volume, tenant, name, deadline) -> Snapshot
    volumes.reconcile() -> Reconciled                                   at start
    volumes.list() -> tuple[VolumeStatus, ...]

Synchronous, without a wire: no FlexVolume or CSI words, no gRPC, no asyncio enter.
"""
