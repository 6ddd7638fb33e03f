"""The room for a pod's network: interfaces, addresses, routes, host ports, limits.

`network` is its door; `settings`, `attachment` and `errors` are what passes through it. `leases`
say who has what, `plan` what shall be, `wiring`, `bridge`, `firewall` and `shaping` do it, `upkeep`
looks after it. `inspection` tells people what is there, and `holdings` of what each pod has.

Synchronous, without a wire: no CNI words, no gRPC, no asyncio enter.
"""
