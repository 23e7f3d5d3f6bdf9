"""An OpenID Connect issuer on loopback: its discovery document, its keys, and tokens as it signs them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey


class Issuer:
    """Serves from a thread until it is stopped; `asked` counts the questions by path."""

    def __init__(self) -> None:
        self.keys: list[Key] = [RSAKey.generate_key(2048, {"kid": "rsa-1"})]
        self.asked: Counter[str] = Counter()
        self.changes: dict[str, Any] = {}
        self.status = 200
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add_key(self, kind: str) -> Key:
        made: Key = {
            "RS256": lambda: RSAKey.generate_key(2048, {"kid": "rsa-2"}),
            "PS256": lambda: RSAKey.generate_key(2048, {"kid": "rsa-3"}),
            "ES256": lambda: ECKey.generate_key("P-256", {"kid": "ec-1"}),
            "EdDSA": lambda: OKPKey.generate_key("Ed25519", {"kid": "okp-1"}),
            "Ed25519": lambda: OKPKey.generate_key("Ed25519", {"kid": "okp-2"}),
        }[kind]()
        self.keys.append(made)
        return made

    def sign(self, claims: dict[str, Any], *, key: Key | None = None, alg: str = "RS256", **header: Any) -> str:
        signer = key or self.keys[-1]
        return jwt.encode({"alg": alg, "kid": signer.kid, **header}, claims, signer, algorithms=[alg])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked[self.path] += 1
                body = json.dumps(issuer._answer(self.path)).encode()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, path: str) -> dict[str, Any]:
        if path == "/keys":
            return {"keys": [key.as_dict(private=False) for key in self.keys], **self.changes.get("keys", {})}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.changes.get("discovery", {})}
