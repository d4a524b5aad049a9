"""Events as Stripe lays them out, orders, and pools of complete requests, which pool.lua and latency.rs send."""

import hmac
import json
import os
import random
import time

SECRET = "whsec_bench_4f6c1c9e0b7a4d5c8e2f1a3b"
WEBHOOK = "/webhooks/stripe"
PAGE = "/posts/1"
CHECKOUT = "/api/checkout"
KEY = "sk_test_bench"
PRICE = "price_1Bench"
SIZES = {"2k": 2 << 10, "8k": 8 << 10, "64k": 64 << 10}

_HEAD = (
    "POST {path} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n"
    "Accept: */*; q=0.5, application/xml\r\nCache-Control: no-cache\r\n"
    "Content-Type: application/json; charset=utf-8\r\nContent-Length: {length}\r\n{signature}\r\n"
)


def body(size):
    """Returns a paid invoice of exactly this many bytes: as many lines as fit, and padding in one metadata value."""

    def dump(lines, pad):
        event = {
            "id": "evt_" + "0" * 24,
            "object": "event",
            "api_version": "2026-08-01.basil",
            "created": 1790000000,
            "data": {
                "object": {
                    "id": "in_1Qk2Lighthouse",
                    "object": "invoice",
                    "amount_paid": 4900,
                    "currency": "eur",
                    "customer": "cus_Lamplighter",
                    "lines": {"object": "list", "data": lines},
                    "metadata": {"note": pad},
                    "status": "paid",
                }
            },
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": "invoice.paid",
        }
        return json.dumps(event, indent=2, ensure_ascii=False).encode()

    lines = []
    while True:
        n = len(lines)
        line = {
            "id": f"il_1Beam{n:04d}",
            "object": "line_item",
            "amount": 4900,
            "currency": "eur",
            "description": f"1 × Pro, seat {n} (at €49.00 / month)",
            "period": {"end": 1792592000, "start": 1790000000},
            "proration": False,
            "quantity": 1,
        }
        if len(dump([*lines, line], "")) > size:
            return dump(lines, "x" * (size - len(dump(lines, ""))))
        lines.append(line)


def signature(key, timestamp, payload):
    """Returns the value of a `Stripe-Signature` header."""
    mac = hmac.digest(key.encode(), b"%d." % timestamp + payload, "sha256").hex()
    return f"t={timestamp},v1={mac}"


def post(payload, key=SECRET, age=0):
    """Returns a webhook request whose signature is `age` seconds old. With `key=None` it has no signature."""
    line = f"Stripe-Signature: {signature(key, int(time.time()) - age, payload)}\r\n" if key else ""
    return _HEAD.format(path=WEBHOOK, length=len(payload), signature=line).encode() + payload


def get():
    """Returns a request for a page, which every contestant passes through."""
    return f"GET {PAGE} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".encode()


def order():
    """Returns an order, as a script on a page sends it."""
    body = b'{"price": "pro", "quantity": 1}'
    head = (
        f"POST {CHECKOUT} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def session():
    """Returns the call that the program sends to Stripe for `order`."""
    body = (
        f"mode=payment&line_items[0][price]={PRICE}&line_items[0][quantity]=1"
        "&success_url=https%3A%2F%2Fshop.example%2Fthanks"
    )
    return (
        f"POST /v1/checkout/sessions HTTP/1.1\r\nHost: api.stripe.com\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def pool(path, requests):
    """Writes requests to a file, each behind its length in eight digits."""
    with open(path, "wb") as file:
        for request in requests:
            file.write(b"%08d" % len(request) + request)


def webhooks(size, count, key=SECRET):
    """Yields signed requests, each with an event id that no other run has, and with digits of its own.

    The LuaJIT in wrk hashes only samples of a string. Requests that differ in nothing but their id would fall into one
    hash chain. In one run of three, wrk would then send no more than 12,000 a second to any server.
    """
    template = body(SIZES[size])
    before, after = template.split(b"evt_" + b"0" * 24)
    run = time.time_ns() & 0xFFFFFFFF
    digits = b"123456789"
    for n in range(count):
        replacements = bytes.maketrans(digits, bytes(random.sample(digits, len(digits))))
        event = b"evt_%08x%016x" % (run, n)
        yield post(before.translate(replacements) + event + after.translate(replacements), key)
