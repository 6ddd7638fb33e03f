"""The room for a pod's network: interfaces, addresses, routes, host ports, limits.

Empty so far. Synchronous, without a wire: no CNI words, no gRPC, no asyncio enter.
"""
