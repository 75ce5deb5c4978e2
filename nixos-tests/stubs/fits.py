"""For mypy alone: the machine of debian/ does what the scenarios ask of one."""

from driver import Machine as Expected
from machine import Machine


def fits(machine: Machine) -> Expected:
    """The same machine."""
    return machine
