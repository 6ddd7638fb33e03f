"""The floor: the kernel as Python values. Standard library only, no policy."""
