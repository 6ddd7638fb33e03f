"""The room for a pod's storage: which volume is made of what, and where it is mounted.

Empty so far. Synchronous, without a wire: no FlexVolume words, no gRPC, no asyncio enter.
"""
