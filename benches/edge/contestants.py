"""The contestants: how each is started, and what it cannot do."""

import base64
import os
import pathlib
import shutil
import sys
import time

from edge import events, machine

PEERS = pathlib.Path(__file__).parent.parent / "peers"
LUA_MODULE = "/usr/lib/nginx/modules/ngx_http_lua_module.so"


class Contestant:
    """A server to measure.

    `verifies` says that it checks signatures, and `ledger` that it delivers each event once. `max_body` is how many bytes of
    a body it can check; None stands for no limit.
    """

    def __init__(self, name, verifies=True, ledger=False, max_body=None):
        self.name, self.verifies, self.ledger, self.max_body = name, verifies, ledger, max_body
        self.process = None

    def missing(self):
        """Returns the packages that must be installed first, or None."""
        return None

    def command(self, folder, backend):
        """Writes its files and returns its command line and environment. It must listen on self.port."""
        raise NotImplementedError

    def start(self, folder, backend, core):
        """Starts it on one core, in front of a backend on a port, and waits until it serves."""
        folder = folder / self.name.replace(" ", "_").replace(",", "")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.port = machine.free_port()
        # Pages go to the same port, unless the contestant checks signatures in a listener of its own.
        self.page_port = self.port
        command, environment = self.command(folder, backend)
        log = folder / "log"
        self.process = machine.spawn(command, core, log, cwd=folder, env=os.environ | environment)
        machine.await_port(self.port, self.process, log)
        self.await_ready()
        return self

    def await_ready(self):
        """Waits for what it needs beyond listening before it works."""

    def pid(self):
        return self.process.pid

    def status(self):
        """Says whether it runs, for a message."""
        status = self.process.poll() if self.process else None
        return "running" if status is None else f"ended with status {status}"

    def stop(self):
        machine.stop(self.process)


class Countersign(Contestant):
    """The program, without a checkout and with inline delivery."""

    def __init__(self, name, binary, ledger, level):
        super().__init__(name, ledger=ledger != "none")
        self.binary, self.url, self.level = binary, ledger, level

    def await_ready(self):
        for _ in range(100):
            if machine.fetch(self.admin_port, b"GET /readyz HTTP/1.1\r\nHost: bench\r\n\r\n")[0] == 200:
                return
            time.sleep(0.05)
        sys.exit(f"{self.name} is not ready after 5 s; see its log in the bench folder")

    def command(self, folder, backend):
        self.admin_port = machine.free_port()
        (folder / "countersign.toml").write_text(f"""
[server]
listen = "127.0.0.1:{self.port}"
[admin]
listen = "127.0.0.1:{self.admin_port}"
[log]
level = "{self.level}"
format = "json"
[backend]
url = "http://127.0.0.1:{backend}"
[ledger]
url = "{self.url}"
[[webhook]]
path = "{events.WEBHOOK}"
secrets = ["{{$STRIPE_WEBHOOK_SECRET}}"]
""")
        return [self.binary, "run", "--config", "countersign.toml"], {"STRIPE_WEBHOOK_SECRET": events.SECRET}


class Queueing(Countersign):
    """The program with queued delivery, for a backend on a port of its own that is down at first."""

    def __init__(self, binary):
        super().__init__("countersign queued", binary, "sqlite:ledger.db", "warn")

    def command(self, folder, backend):
        command, environment = super().command(folder, backend)
        with open(folder / "countersign.toml", "a") as file:
            file.write('delivery = "queued"\n')
        return command, environment


class Replica(Queueing):
    """One of several processes that queue their events in one Redis, which writes nothing to disk."""

    def __init__(self, binary, number, url):
        super().__init__(binary)
        self.name, self.url = f"countersign replica {number}", url

    def command(self, folder, backend):
        command = super().command(folder, backend)
        config = folder / "countersign.toml"
        config.write_text(config.read_text().replace("[[webhook]]", 'durability = "none"\n[[webhook]]'))
        return command


def start_redis(folder, core):
    """Starts a Redis that writes nothing to disk, and returns it with its URL."""
    port, log = machine.free_port(), folder / "redis.log"
    command = ["redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"]
    redis = machine.spawn(command, core, log, cwd=folder)
    machine.await_port(port, redis, log)
    return redis, f"redis://127.0.0.1:{port}"


class CountersignRedis(Countersign):
    """The program with a Redis of its own, which shares the core of load and backend and writes nothing to disk."""

    def __init__(self, name, binary, level, redis_core):
        super().__init__(name, binary, "redis", level)
        self.redis_core = redis_core

    def missing(self):
        return None if shutil.which("redis-server") else "redis-server"

    def start(self, folder, backend, core):
        self.redis, self.url = start_redis(folder, self.redis_core)
        return super().start(folder, backend, core)

    def stop(self):
        super().stop()
        machine.stop(self.redis)


class WithCheckout(Countersign):
    """The program with a checkout. The backend plays Stripe."""

    def command(self, folder, backend):
        command, environment = super().command(folder, backend)
        with open(folder / "countersign.toml", "a") as config:
            config.write(f"""
[checkout]
success_url = "https://shop.example/thanks"
[[checkout.price]]
id = "{events.PRICE}"
name = "pro"
""")
        return command, environment | {"STRIPE_SECRET_KEY": events.KEY, "STRIPE_API_BASE": f"http://127.0.0.1:{backend}"}


class HAProxy(Contestant):
    """HAProxy, which checks signatures with its own converters, in one of two buffer sizes."""

    def __init__(self, name, buffer):
        # HAProxy hashes a body in one buffer, which also holds the head.
        super().__init__(name, max_body=buffer - 1024)
        self.buffer = buffer

    def missing(self):
        return None if shutil.which("haproxy") else "haproxy"

    def command(self, folder, backend):
        self.page_port = machine.free_port()
        key = base64.b64encode(events.SECRET.encode()).decode()
        return ["haproxy", "-db", "-f", PEERS / "haproxy.cfg"], {
            "BUFFER": str(self.buffer),
            "LISTEN": f"127.0.0.1:{self.port}",
            "LISTEN_PAGES": f"127.0.0.1:{self.page_port}",
            "BACKEND": f"127.0.0.1:{backend}",
            "WEBHOOK": events.WEBHOOK,
            "SECRET_BASE64": key,
        }


class Nginx(Contestant):
    """nginx, which checks signatures in Lua."""

    def missing(self):
        found = shutil.which("nginx") and os.path.exists(LUA_MODULE)
        return None if found else "nginx libnginx-mod-http-lua"

    def command(self, folder, backend):
        values = {
            "@FOLDER@": str(folder),
            "@PEERS@": str(PEERS),
            "@LISTEN@": f"127.0.0.1:{self.port}",
            "@BACKEND@": f"127.0.0.1:{backend}",
            "@WEBHOOK@": events.WEBHOOK,
            "@SECRET@": events.SECRET,
        }
        text = (PEERS / "nginx.conf").read_text()
        for name, value in values.items():
            text = text.replace(name, value)
        (folder / "nginx.conf").write_text(text)
        return ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"], {}


class Caddy(Contestant):
    """Caddy, which passes every request through."""

    def __init__(self, name):
        super().__init__(name, verifies=False)

    def missing(self):
        return None if shutil.which("caddy") else "caddy"

    def command(self, folder, backend):
        environment = {"PORT": str(self.port), "BACKEND": f"127.0.0.1:{backend}", "HOME": str(folder)}
        return ["caddy", "run", "--config", PEERS / "Caddyfile", "--adapter", "caddyfile"], environment


class Direct(Contestant):
    """No proxy: the backend itself, which runs anyway."""

    def __init__(self, name):
        super().__init__(name, verifies=False)

    def start(self, folder, backend, core):
        self.port = self.page_port = backend
        return self

    def pid(self):
        return 0

    def stop(self):
        pass


def all_of(binary, load_core, before=None):
    """Returns every contestant of the measurements that compare, with the earlier program `before` if there is one."""
    earlier = [
        Countersign("countersign before", before, "none", "warn"),
        Countersign("countersign sqlite, before", before, "sqlite:ledger.db", "warn"),
    ]
    return (earlier if before else []) + [
        Direct("direct"),
        Countersign("countersign", binary, "none", "warn"),
        Countersign("countersign, info", binary, "none", "info"),
        Countersign("countersign sqlite", binary, "sqlite:ledger.db", "warn"),
        Countersign("countersign sqlite, info", binary, "sqlite:ledger.db", "info"),
        CountersignRedis("countersign redis", binary, "warn", load_core),
        HAProxy("haproxy 16k", 16384),
        HAProxy("haproxy 128k", 131072),
        Nginx("nginx lua"),
        Caddy("caddy"),
    ]
