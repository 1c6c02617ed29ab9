"""A backend for events over HTTP: an echo to everybody in one room. Nothing beyond Python is needed."""
import hashlib, hmac, json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["GATEWAYWORKER_EVENTS_SECRET"].encode()

def is_ours(signature, body):
    """Whether one of the signatures is ours, and not older than five minutes."""
    parts = [part.split("=", 1) for part in signature.split(",") if "=" in part]
    at = next((value for name, value in parts if name == "t"), "")
    ours = hmac.new(SECRET, at.encode() + b"." + body, hashlib.sha256).hexdigest()
    fresh = at.isdigit() and abs(time.time() - int(at)) < 300
    return fresh and any(hmac.compare_digest(ours, value) for name, value in parts if name == "v1")

def answer(event):
    if event["event"] == "connect":
        return {"calls": [{"call": "join_group", "params": {"group": "room"}}]}
    if event["event"] == "message" and "message" in event:
        return {"calls": [{"call": "send_to_group", "params": {"group": "room", "message": event["message"]}}]}
    return {}

class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        ours = is_ours(self.headers.get("GatewayWorker-Signature", ""), body)
        out = json.dumps(answer(json.loads(body)) if ours else {}).encode()
        self.send_response(200 if ours else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Backend).serve_forever()
