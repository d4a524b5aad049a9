"""The machine: pinned processes, their CPU time and memory, and the CPU time that other processes used."""

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
# The part of a core that other processes may use during a measurement.
MAX_DISTURBANCE = 0.12


def log(*words):
    """Prints a line to standard error; standard output is the report."""
    print(*words, file=sys.stderr, flush=True)


def free_port():
    """Returns a port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def spawn(command, core, log, **options):
    """Starts a process on one core. Its output goes to a file, as it would under a service manager."""
    with open(log, "wb") as out:
        return subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stdout=out, stderr=out, **options)


def stop(process):
    """Ends a process with SIGTERM, or with SIGKILL after 5 s."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_port(port, process, log_file):
    """Waits until a process listens on a port, or exits with the end of its log."""
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}; see {log_file}:\n{open(log_file).read()[-2000:]}")


def fetch(port, request):
    """Sends a request and returns the status and the body of its response, which must have a `Content-Length`."""
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
    """Returns how often a second a payload can be appended to a file and synced, one write after the other."""
    path = folder / "fsync"
    with open(path, "wb", buffering=0) as file:
        started, writes = time.monotonic(), 0
        while time.monotonic() - started < seconds:
            file.write(payload)
            os.fsync(file.fileno())
            writes += 1
        rate = writes / (time.monotonic() - started)
    path.unlink()
    return rate


def process_tree(pid):
    """Returns the ids of a process and of all its descendants."""
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
    """Returns the CPU seconds of a process and its descendants, with those that have ended and been waited for.

    For process 0, which stands for none, it returns 0.
    """
    total = 0
    for member in process_tree(pid) if pid else []:
        try:
            stat = open(f"/proc/{member}/stat").read().rsplit(")", 1)[1].split()
            total += sum(map(int, stat[11:15]))
        except OSError:
            pass
    return total / TICK


def resident(pid):
    """Returns the MiB of memory that a process and its descendants hold. Shared memory counts once."""
    kib = 0
    for member in process_tree(pid):
        try:
            kib += int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{member}/smaps_rollup").read(), re.M).group(1))
        except (OSError, AttributeError):
            pass
    return kib / 1024


def machine_seconds_used():
    """Returns the CPU seconds that the whole machine has used since its start. Time stolen by its host counts."""
    fields = [int(field) for field in open("/proc/stat").readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


def await_quiet(limit):
    """Waits until other processes use less than 15 % of a core, or until `limit` seconds have passed."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        before = machine_seconds_used()
        time.sleep(0.4)
        if machine_seconds_used() - before < 0.06:
            return


def measure_undisturbed(measure, patience):
    """Measures, and repeats it up to twice if other processes used more than 12 % of a core during the measurement.

    It waits up to `patience` seconds for a quiet machine before each attempt. The result says in `others` how much of a core
    other processes used.
    """
    for _ in range(3):
        await_quiet(patience)
        started, own, total = time.monotonic(), seconds_used(os.getpid()), machine_seconds_used()
        result = measure()
        others = (machine_seconds_used() - total) - (seconds_used(os.getpid()) - own)
        result["others"] = others / (time.monotonic() - started)
        if result["others"] < MAX_DISTURBANCE:
            break
    return result


def facts(root):
    """Returns what a reader must know to compare figures, one line a fact."""

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
