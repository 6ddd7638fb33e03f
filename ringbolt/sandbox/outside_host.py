"""The host behind the node's uplink: run as a file by `network_demo`, never imported by it.

It answers every request with the address that it sees, and at /back/PORT with what is answered
there at /peer: so a pod learns how it looks from outside, and whether outside leads back to it.
"""

import http.server
import socket
import socketserver
import sys
import urllib.request


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        seen = self.client_address[0].removeprefix("::ffff:")
        _, _, port = self.path.partition("/back/")
        answer = _ask(seen, int(port)) if port.isdecimal() else seen.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Nobody reads it."""


class _Server(socketserver.ThreadingTCPServer):
    """No HTTPServer: that asks a DNS, which is not there, for its own name."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET


def _ask(host: str, port: int) -> bytes:
    shown = f"[{host}]" if ":" in host else host
    with urllib.request.urlopen(f"http://{shown}:{port}/peer", timeout=5) as answer:
        whole: bytes = answer.read()
    return whole


if __name__ == "__main__":
    with _Server(("", 80), _Answer) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()
