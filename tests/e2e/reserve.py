"""Names that only one process of this machine has at a time: ports, networks.

A name is taken by binding an abstract socket to it, which the kernel gives to one process and takes
back when that one is gone, however it went. So programs that run side by side (several tests, several
scenarios of the nemesis) share nothing by chance, and no file of a process that died is in the way.
Who asks for no name takes no heed of it: it is an agreement among these programs.
"""
import errno
import socket

HELD = {}       # name -> the socket that holds it, as long as this process lives


def take(name):
    """Whether the name is this process' from now on; False: somebody has it, perhaps this process."""
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        held.bind("\0tallystick-%s" % name)
    except OSError as error:
        held.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    HELD[name] = held
    return True
