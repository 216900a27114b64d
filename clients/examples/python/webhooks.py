"""Receives webhooks: checks the signature and prints what happened. With the standard library alone."""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
TOLERANCE_S = 300
seen = set()  # an event may be told twice; a real service keeps this where it keeps the rest


def is_genuine(headers, body: bytes) -> bool:
    sent = headers.get("webhook-timestamp", "")
    signed = f"{headers.get('webhook-id')}.{sent}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    right = [hmac.compare_digest(expected, given) for given in headers.get("webhook-signature", "").split(" ")]
    return any(right) and sent.isdecimal() and abs(time.time() - int(sent)) < TOLERANCE_S


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        genuine = is_genuine(self.headers, body)
        for event in json.loads(body)["events"] if genuine else []:
            if event["id"] not in seen:
                seen.add(event["id"])
                print(event["type"], event.get("channel") or event.get("user") or "", flush=True)
        self.send_response(204 if genuine else 401)  # anything but 2xx: it is told again
        self.end_headers()


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Receiver)
print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
