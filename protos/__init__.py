"""The gRPC contracts of kubelet and runtime, and the code generated from them (`make protos`)."""
