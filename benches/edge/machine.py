"""The machine: pinned processes, their time and memory, and what strangers took meanwhile."""

import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def spawn(command, core, log, **options):
    """Starts a process on one core; what it says goes to a file, as it would under a service manager."""
    with open(log, "wb") as out:
        return subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stdout=out, stderr=out, **options)


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_port(port, process, log):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}; see {log}:\n{open(log).read()[-2000:]}")


def ask(port, request):
    """The status and the body of an answer that is not long."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
            head, found, body = received.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.I)
            if found and len(body) >= int(length.group(1) if length else 0):
                break
        return int(head.split(b" ")[1]), body


def write_and_fsync(folder, payload, seconds):
    """How often a second a payload is written to the end of a file and synced, one after the other."""
    path = folder / "fsync"
    with open(path, "wb", buffering=0) as file:
        began, writes = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            file.write(payload)
            os.fsync(file.fileno())
            writes += 1
        rate = writes / (time.monotonic() - began)
    path.unlink()
    return rate


def family(pid):
    """A process and all that descend from it."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()
            children.setdefault(int(stat[1]), []).append(int(entry))
        except OSError:
            pass
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def seconds_used(pid):
    """CPU seconds of a process and its descendants, those included that have ended and been waited for. None of 0."""
    total = 0
    for member in family(pid) if pid else []:
        try:
            stat = open(f"/proc/{member}/stat").read().rsplit(")", 1)[1].split()
            total += sum(map(int, stat[11:15]))
        except OSError:
            pass
    return total / TICK


def resident(pid):
    """MiB of memory that a process and its descendants hold; what they share counts once."""
    kib = 0
    for member in family(pid):
        try:
            kib += int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{member}/smaps_rollup").read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return kib / 1024


def busy():
    """CPU seconds that the whole machine has spent on anything; time stolen by its host counts."""
    fields = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def await_quiet(limit):
    """Waits until others use less than 15 % of a core."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before = busy()
        time.sleep(0.4)
        if busy() - before < 0.06:
            return


def undisturbed(measure, patience):
    """Measures; again, twice at most, if strangers used more than 12 % of a core meanwhile."""
    for _ in range(3):
        await_quiet(patience)
        began, ours, all_ = time.monotonic(), seconds_used(os.getpid()), busy()
        result = measure()
        strangers = (busy() - all_) - (seconds_used(os.getpid()) - ours)
        result["strangers"] = strangers / (time.monotonic() - began)
        if result["strangers"] < 0.12:
            break
    return result


def facts(root):
    """What a reader must know to compare: one line a fact."""

    def first_line(*command):
        if not shutil.which(command[0]):
            return "not installed"
        out = subprocess.run(command, capture_output=True, text=True, cwd=root)
        return (out.stdout + out.stderr).strip().split("\n")[0]

    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read()).group(1)) / 2**20
    return [
        f"{cpu.group(1) if cpu else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Linux {platform.release()}",
        f"commit {first_line('git', 'describe', '--always', '--dirty')}, {first_line('rustc', '--version')}",
        first_line("haproxy", "-v"),
        first_line("nginx", "-v"),
        f"Caddy {first_line('caddy', 'version')}",
        first_line("wrk", "-v"),
    ]
