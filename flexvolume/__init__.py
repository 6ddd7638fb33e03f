"""The FlexVolume door."""
