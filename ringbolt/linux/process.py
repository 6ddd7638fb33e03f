"""What a process may do and when it dies: prctl(2) and capset(2)."""

import ctypes
import os
from collections.abc import Iterable

from ringbolt.linux import libc

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

_LINUX_CAPABILITY_VERSION_3 = 0x20080522

CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"),
    *("IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT"),
    *("SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD"),
    *("LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG"),
    *("WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)
"""Capability names without CAP_; the index is the kernel's number (capability.h)."""


class _Header(ctypes.Structure):
    """`struct __user_cap_header_struct`."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    """`struct __user_cap_data_struct`; two of them make 64 bits."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def set_parent_death_signal(signal: int) -> None:
    """Ask for `signal` when the parent thread dies. A change of credentials takes it back."""
    libc.call("prctl", PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_child_subreaper() -> None:
    """Become the parent of orphaned descendants."""
    libc.call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_no_new_privileges() -> None:
    """Let no exec gain privileges from here on."""
    libc.call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def effective_capabilities() -> frozenset[str]:
    """The names of this process's effective capabilities."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        line = next(line for line in file if line.startswith("CapEff:"))
    mask = int(line.split()[1], 16)
    return frozenset(name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1)


def limit_bounding_set(keep: Iterable[str]) -> None:
    """Drop every capability but `keep` from what an exec can ever gain. Needs CAP_SETPCAP."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    kept = {CAPABILITIES.index(name) for name in keep}
    for number in range(last + 1):
        if number not in kept:
            libc.call("prctl", PR_CAPBSET_DROP, number, 0, 0, 0)
    libc.call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def set_capabilities(names: Iterable[str]) -> None:
    """Make `names` the effective and permitted set, with nothing to inherit."""
    mask = sum(1 << CAPABILITIES.index(name) for name in names)
    header = _Header(_LINUX_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    for half, item in enumerate(data):
        item.effective = item.permitted = mask >> 32 * half & 0xFFFFFFFF
    libc.call("capset", ctypes.byref(header), ctypes.byref(data))


def exit_code(status: int) -> int:
    """A wait status as a shell counts it: the code, or 128 plus the signal's number."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
