"""Certificates made for one test, by openssl."""

import subprocess
from pathlib import Path


class Authority:
    """Signs certificates; its own is `pem`."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True)
        self._folder = folder
        self.pem = folder / "ca.pem"
        self._new_key("ca", "/CN=authority", "-x509", "-days", "2", "-out", self.pem)

    def issue(self, name, address="DNS:localhost"):
        """The certificate of a server or client, and its key."""
        request, pem = self._folder / f"{name}.csr", self._folder / f"{name}.pem"
        key = self._new_key(name, f"/CN={name}", "-out", request)
        extensions = self._folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName = {address}\n")
        ca = ("-CA", self.pem, "-CAkey", self._folder / "ca.key", "-CAcreateserial", "-days", "2")
        openssl("x509", "-req", "-in", request, *ca, "-extfile", extensions, "-out", pem)
        return pem, key

    def _new_key(self, name, subject, *arguments):
        key = self._folder / f"{name}.key"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", *curve, "-keyout", key, "-subj", subject, *arguments)
        return key


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
