#!/usr/bin/env python3
"""Chromium, which the kernel does not notify of network changes.

Whenever an address comes or goes, as when containers start during a test, it aborts all requests that wait for a
connection, those to loopback too: ERR_NETWORK_CHANGED. It learns this by a socket that it does not need.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import struct
import sys

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
# Instructions of a filter: load a word, jump, and return. The offsets of the call's number and first argument.
_LOAD, _IF_EQUAL, _END = 0x20, 0x15, 0x06
_NUMBER, _FIRST = 0, 16
_ALLOW, _NO_SUCH_FAMILY = 0x7FFF0000, 0x00050000 | 97
_SOCKET = {"x86_64": 41, "aarch64": 198}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_netlink() -> None:
    """Make the kernel refuse such sockets to this process and to all its children."""
    number = _SOCKET.get(platform.machine())
    if number is None:
        return
    steps = [
        (_LOAD, 0, 0, _NUMBER),
        (_IF_EQUAL, 0, 3, number),
        (_LOAD, 0, 0, _FIRST),
        (_IF_EQUAL, 0, 1, int(socket.AF_NETLINK)),
        (_END, 0, 0, _NO_SUCH_FAMILY),
        (_END, 0, 0, _ALLOW),
    ]
    program = _Program(len(steps), b"".join(struct.pack("HBBI", *step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "this kernel has no filters for system calls")


if __name__ == "__main__":
    forbid_netlink()
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed: apt-get install chromium"
    os.execv(chromium, [chromium, *sys.argv[1:]])
