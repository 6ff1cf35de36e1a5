"""A hub on this machine that keeps what is uploaded to it, as far as `huggingface_hub` asks it to when it uploads."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "secretsecret" * 2


class Hub:
    """What came in: `files` of the one repository by name, the `requests`, and whether all bore the token."""

    def __init__(self) -> None:
        self.address = ""
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.tokens: set[str | None] = set()
        self.private: bool | None = None
        self.refuses = False
        self._stored: dict[str, bytes] = {}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Returns the status and the JSON that a request is answered with."""
        if path == "/api/agent-harnesses":  # asked for in the background, of no account
            return 404, {}
        self.requests.append(f"{method} {path}")
        if self.refuses:
            return 403, {"error": "this token may not write"}
        if path.startswith("/stored/"):
            self._stored[path.removeprefix("/stored/")] = body
            return 200, {}
        if path.endswith("/commit/main"):
            return self._commit([json.loads(line) for line in body.decode().splitlines()])
        asked = json.loads(body) if body else {}
        if path == "/api/repos/create":
            self.private = asked.get("private", False) or asked.get("visibility") == "private"
            owner = asked.get("organization") or "me"
            return 200, {"url": f"{self.address}/{owner}/{asked['name']}", "name": f"{owner}/{asked['name']}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            files = [
                {"path": each["path"], "uploadMode": _mode(each["path"]), "shouldIgnore": False}
                for each in asked["files"]
            ]
            return 200, {"files": files}
        if path.endswith(".git/info/lfs/objects/batch"):
            wanted = [
                each | {"actions": {"upload": {"href": f"{self.address}/stored/{each['oid']}"}}}
                for each in asked["objects"]
            ]
            return 200, {"transfer": "basic", "objects": wanted}
        return 404, {"error": f"this hub knows no {method} {path}"}

    def _commit(self, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self._stored[value["oid"]]
        return 200, {"commitUrl": f"{self.address}/me/tuned/commit/1", "commitOid": "1" * 40, "success": True}


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"


@contextmanager
def local_hub() -> Iterator[Hub]:
    """Serves a hub on loopback for as long as the context lasts."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path.startswith(("/api/models/", "/api/repos/", "/me/")):
                hub.tokens.add(self.headers.get("Authorization"))
            status, value = hub.answer(self.command, self.path, body)
            written = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_POST = do_PUT = do_HEAD = _answer

        def log_message(self, format: str, *values: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
