"""The kubelet's gRPC contracts and the code generated from them (`make protos`)."""
