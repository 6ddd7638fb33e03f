"""Has volumes mounted anew whose FUSE server died, later and later where that fails.

Nothing is decided here. Runs in a thread of its own: starting a server may take its time.
"""

from pathlib import Path

from daemon.lean import structlog
from ringbolt.volumes.deadline import Deadline
from ringbolt.volumes.errors import VolumeError
from ringbolt.volumes.server_watch import ServerWatch
from ringbolt.volumes.volumes import Volumes

_log = structlog.get_logger()

_PATIENCE_S = 60.0
_FIRST_S, _LONGEST_S = 1.0, 300.0


def tend_servers(room: Volumes, run_dir: Path) -> None:
    """For ever: wait until a server ends, and mount its volume anew. Raises OSError."""
    pause_s = _FIRST_S
    with ServerWatch(run_dir) as watch:
        while True:
            if _revive_all(room):
                pause_s = _FIRST_S
                watch.wait()
            else:
                watch.wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_S)


def _revive_all(room: Volumes) -> bool:
    """Whether all that died are well again."""
    well = True
    for volume_id in room.dead():
        try:
            for words in room.revive(volume_id, Deadline.after(_PATIENCE_S)):
                _log.warning("volume: server died", volume_id=volume_id, done=words)
        except (VolumeError, OSError) as error:
            well = False
            _log.error("volume: not mounted anew", volume_id=volume_id, error=str(error))
    return well
