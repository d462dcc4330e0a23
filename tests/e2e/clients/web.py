"""A Flask program for `ddtrace-run`. Writes its port to the file named as argument and serves until its standard input ends."""

import os
import sys
import threading

from ddtrace import tracer
from flask import Flask
from werkzeug.serving import make_server

app = Flask(__name__)


@app.get("/order/<int:number>")
def order(number):
    with tracer.trace("order.price", resource=f"price {number}") as span:
        span.set_metric("number", number)
    if number % 7 == 0:
        raise RuntimeError(f"order {number} cannot be priced")
    return str(number)


server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=server.serve_forever).start()
with open(sys.argv[1] + ".new", "w") as file:
    file.write(str(server.port))
os.rename(sys.argv[1] + ".new", sys.argv[1])
sys.stdin.read()
server.shutdown()
