"""Who is measured: how each is started, and what it cannot do."""

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
    """Something that listens. `ledger` says that it delivers each event once."""

    def __init__(self, name, verifies=True, ledger=False, largest=None):
        self.name, self.verifies, self.ledger, self.largest = name, verifies, ledger, largest
        self.process = None

    def missing(self):
        """What must be installed first, or None."""
        return None

    def command(self, folder, backend):
        """The command line, once files are written; self.port is taken."""
        raise NotImplementedError

    def start(self, folder, backend, core):
        folder = folder / self.name.replace(" ", "_").replace(",", "")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.port = machine.free_port()
        # Where it is asked for pages: the same, unless the check stands in a listener of its own.
        self.page_port = self.port
        command, environment = self.command(folder, backend)
        log = folder / "log"
        self.process = machine.spawn(command, core, log, cwd=folder, env=os.environ | environment)
        machine.await_port(self.port, self.process, log)
        self.await_ready()
        return self

    def await_ready(self):
        """It listens; what else it needs before it works."""

    def pid(self):
        return self.process.pid

    def fate(self):
        status = self.process.poll() if self.process else None
        return "running" if status is None else f"ended with status {status}"

    def stop(self):
        machine.stop(self.process)


class Countersign(Contestant):
    def __init__(self, name, binary, ledger, level):
        super().__init__(name, ledger=ledger != "none")
        self.binary, self.url, self.level = binary, ledger, level

    def await_ready(self):
        for _ in range(100):
            if machine.ask(self.admin_port, b"GET /readyz HTTP/1.1\r\nHost: bench\r\n\r\n")[0] == 200:
                return
            time.sleep(0.05)
        sys.exit(f"{self.name} does not get ready")

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
    """Keeps its events, for a backend on a port of its own that is not there yet."""

    def __init__(self, binary):
        super().__init__("countersign queued", binary, "sqlite:ledger.db", "warn")

    def command(self, folder, backend):
        command, environment = super().command(folder, backend)
        with open(folder / "countersign.toml", "a") as file:
            file.write('delivery = "queued"\n')
        return command, environment


class Replica(Queueing):
    """One of several that keep their events on one Redis, which keeps nothing on disk."""

    def __init__(self, binary, number, url):
        super().__init__(binary)
        self.name, self.url = f"countersign replica {number}", url

    def command(self, folder, backend):
        command = super().command(folder, backend)
        config = folder / "countersign.toml"
        config.write_text(config.read_text().replace("[[webhook]]", 'durability = "none"\n[[webhook]]'))
        return command


def start_redis(folder, core):
    """One that keeps nothing on disk, and its URL."""
    port, log = machine.free_port(), folder / "redis.log"
    command = ["redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"]
    redis = machine.spawn(command, core, log, cwd=folder)
    machine.await_port(port, redis, log)
    return redis, f"redis://127.0.0.1:{port}"


class CountersignRedis(Countersign):
    """With a Redis of its own, which runs beside load and backend and keeps nothing on disk."""

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


class Selling(Countersign):
    """The program with a checkout, its Stripe being the backend."""

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
    def __init__(self, name, buffer):
        # A body is hashed in one buffer, which also holds the head.
        super().__init__(name, largest=buffer - 1024)
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
    def missing(self):
        found = shutil.which("nginx") and os.path.exists(LUA_MODULE)
        return None if found else "nginx libnginx-mod-http-lua"

    def command(self, folder, backend):
        words = {
            "@FOLDER@": str(folder),
            "@PEERS@": str(PEERS),
            "@LISTEN@": f"127.0.0.1:{self.port}",
            "@BACKEND@": f"127.0.0.1:{backend}",
            "@WEBHOOK@": events.WEBHOOK,
            "@SECRET@": events.SECRET,
        }
        text = (PEERS / "nginx.conf").read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        (folder / "nginx.conf").write_text(text)
        return ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"], {}


class Caddy(Contestant):
    def __init__(self, name):
        super().__init__(name, verifies=False)

    def missing(self):
        return None if shutil.which("caddy") else "caddy"

    def command(self, folder, backend):
        environment = {"PORT": str(self.port), "BACKEND": f"127.0.0.1:{backend}", "HOME": str(folder)}
        return ["caddy", "run", "--config", PEERS / "Caddyfile", "--adapter", "caddyfile"], environment


class Direct(Contestant):
    """No one between: the backend itself, which runs anyway."""

    def __init__(self, name):
        super().__init__(name, verifies=False)

    def start(self, folder, backend, core):
        self.port = self.page_port = backend
        return self

    def pid(self):
        return 0

    def stop(self):
        pass


def all_of(binary, load_core):
    return [
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
