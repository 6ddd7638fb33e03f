"""An embedded kubelet and runtime: the other side of every wire, without a cluster.

It meets the doors over the wire alone, as a kubelet does: of ours it imports `protos` and
`ringbolt.linux`, nothing else.
"""
