"""A virtual machine in QEMU for the scenarios, with the part of the NixOS test driver's interface that they use.

Names, arguments and meanings are those of the NixOS test driver, so that one script runs under both. QEMU ends
with the run, whether that ends by a failed test, a timeout or a signal, even SIGKILL of this process.
"""

import base64
import logging
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

READY = b"Spawning backdoor root shell...\n"
TCG = "tcg,thread=multi"
PATIENCE = 900
"""The default seconds for a command: an emulated machine may be twenty times slower than a real one."""

log = logging.getLogger("vm")


def best_accelerator() -> str:
    """Returns KVM where the CPU has VT-x or AMD-V, else emulation.

    Without these flags a /dev/kvm is software: it opens, but a stock kernel hangs under it, so that QEMU's own fallback
    ("-accel kvm -accel tcg") is never used.
    """
    flags = Path("/proc/cpuinfo").read_text().split()
    is_real = "vmx" in flags or "svm" in flags
    return "kvm" if is_real and os.access("/dev/kvm", os.R_OK | os.W_OK) else TCG


class Machine:
    """A machine that boots its own copy of an image; its disk survives reboot(), shutdown() and crash()."""

    def __init__(self, image: Path, state: Path, payload: Path, console: Path) -> None:
        """Takes an image of build-image, a directory for the disk, a tar as second disk, and a file for the console."""
        self.accelerator = best_accelerator()
        self._image = image
        self._disk = state / "root.raw"
        self._payload = payload
        self._console = console
        self._qemu: subprocess.Popen[bytes] | None = None
        self._shell: socket.socket | None = None
        self._connected = False

    # -- life cycle ----------------------------------------------------------------------------------------------

    def start(self, allow_reboot: bool = True) -> None:
        """Boots, unless it runs already. `allow_reboot` is only here because the NixOS driver requires it."""
        if self._qemu:
            return
        if not self._disk.exists():
            copy = ["cp", "--sparse=always", "--reflink=auto"]
            subprocess.run([*copy, f"{self._image}/root.raw", str(self._disk)], check=True)
        self._shell, theirs = socket.socketpair()
        with theirs:
            self._qemu = subprocess.Popen(
                self._command(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._connected = False

    def reboot(self) -> None:
        """Reboots; the next command waits until the machine is up again.

        It starts a new QEMU, because an emulated one boots several times slower after a reset.
        """
        self._stop("systemctl reboot")
        self.start()

    def shutdown(self) -> None:
        """Powers off and waits until QEMU is gone."""
        if self._qemu:
            self._stop("systemctl poweroff")

    def crash(self) -> None:
        """Ends the machine as a power loss would."""
        if self._qemu:
            self._qemu.terminate()
            try:
                self._qemu.wait(10)
            except subprocess.TimeoutExpired:
                self._qemu.kill()
                self._qemu.wait()
            self._gone()

    def _command(self, shell: int) -> list[str]:
        virtual = ["-accel", self.accelerator, "-cpu", "max", "-smp", "2", "-m", "2048"]
        boot = ["-kernel", f"{self._image}/vmlinuz", "-initrd", f"{self._image}/initrd.img"]
        kernel = "root=/dev/vda rw console=ttyS0 panic=-1 quiet"
        disk = f"file={self._disk},format=raw,if=virtio,cache=unsafe"
        payload = f"file={self._payload},format=raw,if=virtio,readonly=on"
        return [
            # QEMU ends with this process, whatever kills it.
            *["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"],
            *["-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", *virtual, *boot],
            *["-append", kernel, "-drive", disk, "-drive", payload, "-no-reboot"],
            # restrict=on: the guest cannot reach any network.
            *["-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0"],
            *["-device", "virtio-rng-pci", "-device", "virtio-serial"],
            *["-chardev", f"socket,id=shell,fd={shell}", "-device", "virtconsole,chardev=shell"],
            *["-serial", "chardev:console", "-chardev", f"file,id=console,path={self._console},append=on"],
        ]

    def _stop(self, command: str) -> None:
        shell = self._connect()
        shell.sendall(command.encode() + b"\n")
        assert self._qemu
        self._qemu.wait(PATIENCE)
        self._gone()

    def _gone(self) -> None:
        if self._shell:
            self._shell.close()
        self._qemu = self._shell = None
        self._connected = False

    # -- the root shell ------------------------------------------------------------------------------------------

    def _connect(self) -> socket.socket:
        """Waits for the root shell; every command calls this."""
        self.start()
        assert self._shell
        if not self._connected:
            start = time.monotonic()
            while not self._line(start + PATIENCE - time.monotonic()).endswith(READY):
                pass
            self._connected = True
            log.info("booted in %.0f s", time.monotonic() - start)
        return self._shell

    def _line(self, timeout: float) -> bytes:
        """Returns the next line from the root shell.

        Raises TimeoutError, and RuntimeError when the machine has ended.
        """
        assert self._shell
        end = time.monotonic() + timeout
        data = b""
        while not data.endswith(b"\n"):
            self._shell.settimeout(max(end - time.monotonic(), 0.001))
            try:
                chunk = self._shell.recv(1 << 16)
            except TimeoutError:
                raise TimeoutError(f"no answer from the root shell in {timeout:.0f} s") from None
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise RuntimeError("the machine went away: it crashed, or rebooted by itself")
            data += chunk
        return data

    def execute(self, command: str, *, timeout: int | None = PATIENCE) -> tuple[int, str]:
        """Returns the exit code and standard output of a bash command; the code is 124 after the timeout.

        Its standard error goes to the console. A job that it leaves in the background must not keep standard output.
        """
        shell = self._connect()
        patience = timeout or PATIENCE
        script = shlex.quote("set -euo pipefail; " + command)
        bounded = f"timeout -k 10 {patience} bash -c {script} </dev/null | base64 -w0; "
        shell.sendall((bounded + 'echo " ${PIPESTATUS[0]}"\n').encode())
        output, code = self._line(patience + 60).split(b" ")
        return int(code), base64.b64decode(output).decode(errors="replace")

    def succeed(self, *commands: str, timeout: int | None = None) -> str:
        """Returns the output of commands that must succeed."""
        return self._expect(commands, timeout, lambda code: code == 0, "failed")

    def fail(self, *commands: str, timeout: int | None = None) -> str:
        """Returns the output of commands that must fail."""
        return self._expect(commands, timeout, lambda code: code != 0, "succeeded, but should not have")

    def _expect(
        self,
        commands: tuple[str, ...],
        timeout: int | None,
        accept: Callable[[int], bool],
        complaint: str,
    ) -> str:
        outputs = []
        for command in commands:
            code, output = self.execute(command, timeout=timeout)
            assert accept(code), f"{command!r} {complaint} (exit code {code}):\n{output}"
            outputs.append(output)
        return "".join(outputs)

    def wait_until_succeeds(self, command: str, timeout: int = PATIENCE) -> str:
        """Repeats a command until it succeeds. Returns its last output."""
        end = time.monotonic() + timeout
        while True:
            code, output = self.execute(command, timeout=timeout)
            if code == 0:
                return output
            assert time.monotonic() < end, f"{command!r} did not succeed within {timeout} s; at last:\n{output}"
            time.sleep(0.5)

    # -- units ---------------------------------------------------------------------------------------------------

    def get_unit_property(self, unit: str, name: str) -> str:
        """Returns a property as systemctl shows it; empty if this systemd does not know it."""
        return self.succeed(f"systemctl show {shlex.quote(unit)} -P {name}").strip()

    def wait_for_unit(self, unit: str) -> None:
        """Waits until a unit is active. Fails at once if it has failed, or if no job is going to start it."""
        end = time.monotonic() + PATIENCE
        while (state := self.get_unit_property(unit, "ActiveState")) != "active":
            if state == "failed":
                journal = self.execute(f"journalctl -b -n 40 --no-pager -u {shlex.quote(unit)}")[1]
                raise AssertionError(f"{unit} failed:\n{journal}")
            is_left_alone = state == "inactive" and not self.succeed("systemctl list-jobs --no-legend").strip()
            if is_left_alone and self.get_unit_property(unit, "ActiveState") == state:
                raise AssertionError(f"{unit} is inactive and no job is pending")
            assert time.monotonic() < end, f"{unit} is {state}, not active, after {PATIENCE} s"
            time.sleep(0.5)


@contextmanager
def subtest(name: str) -> Iterator[None]:
    """Logs whether a part of a scenario succeeded, and how long it took."""
    start = time.monotonic()
    try:
        yield
    except BaseException as reason:
        log.info("FAIL  %s: %s", name, reason)
        raise
    log.info("ok    %s (%.0f s)", name, time.monotonic() - start)
