"""Certificates for tests of TLS, and a listener that does nothing but shake hands."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import trustme


class Authority:
    """A CA; each method writes files and answers their paths."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *names: str, expired: bool = False) -> tuple[Path, Path]:
        """Certificate and key for these host names or addresses; issuing `name` again replaces its files."""
        found = self._ca.issue_cert(*names, not_after=datetime(2020, 1, 1, tzinfo=UTC) if expired else None)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in found.cert_chain_pems))
        found.private_key_pem.write_to_path(str(key))
        key.chmod(0o644)
        return certificate, key


@contextmanager
def listening(certificate: Path, key: Path, *, wants: Path | None = None) -> Generator[int]:
    """The port of a listener on loopback that shows this certificate, and asks for one signed by the CA file `wants`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if wants is not None:
        context.load_verify_locations(wants)
        context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(listener, context), name="handshakes")
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with contextlib.suppress(OSError), connection:
            connection.settimeout(5)
            with context.wrap_socket(connection, server_side=True) as secure:
                while secure.recv(1024):
                    secure.sendall(b"-ERR this is no server\r\n")
