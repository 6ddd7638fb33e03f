"""The agent process: command line, configuration, composition root, the device plugin door."""
