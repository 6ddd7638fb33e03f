"""The CNI door."""
