"""A small shop traced with ddtrace. Writes what it knows of its own spans to the file named as argument."""

import sys

from ddtrace.constants import MANUAL_DROP_KEY, MANUAL_KEEP_KEY

from traced import traced, write_truth


class OutOfStock(Exception):
    pass


def check_stock(i):
    with traced("stock.check", "stock", f"stock/{i % 7}", "worker", metrics={"stock.left": i % 5}):
        with traced("stock.cache", "stock-cache", "get", "cache", {"cache.hit": str(i % 2 == 0)}):
            pass
        if i % 5 == 0:
            raise OutOfStock(f"ausverkauft: «Gerät {i}» 🚫")


def request(i):
    tags = {"customer.name": "Zoë Ångström 😀", "ключ": "值", "http.method": "GET", "empty": ""}
    with traced("web.request", "shop", f"GET /artikel/{i}/größe", "web", tags, {"items": i, "ratio": i / 8}):
        with traced("auth.verify", "shop", "token"):
            pass
        try:
            check_stock(i)
        except OutOfStock:
            pass  # handled: the request itself succeeds
        with traced("1.price-list/ü", "Shop Wörker", "prices", "worker", metrics={"big": 2.0**53, "small": -1e-9}):
            pass
        if i % 9 == 0:
            raise ValueError(f"order {i} broke\nin two lines")


def main(path):
    for i in range(60):
        try:
            request(i)
        except ValueError:
            pass
    with traced("shop.audit") as span:
        span.set_tag(MANUAL_KEEP_KEY)
    with traced("shop.health") as span:
        span.set_tag(MANUAL_DROP_KEY)
    # Above 300 finished spans the tracer sends the first part of a trace before its root has ended.
    with traced("batch.import", resource="nightly"):
        for i in range(350):
            with traced("batch.row", resource=f"row {i}"):
                pass
    write_truth(path)


main(sys.argv[1])
