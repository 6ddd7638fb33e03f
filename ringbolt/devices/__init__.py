"""The room for a node's hardware: what is there, what a resource takes of it, what a pod gets.

Rooms are synchronous and know no wire: no gRPC, no protobuf, no asyncio, no kubelet words enter.
"""
