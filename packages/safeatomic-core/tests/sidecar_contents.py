"""Contents of the sidecar of `data.bin`, a file with ``old``: ours, lists, and foreign ones."""

from __future__ import annotations

from safeatomic_core._digests import hash_bytes

OLD, NEW = hash_bytes(b"old", "sha256"), hash_bytes(b"new", "sha256")
OTHER = "0" * 64
SIGNED = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{OLD}  data.bin\n-----END-----\n"

OURS = {
    "sealed": f"{OLD}  data.bin\n",
    "binary mode": f"{OLD} *data.bin\n",
    "in this directory": f"{OLD}  ./data.bin\n",
    "no name": OLD,
    "standard input": f"{OLD}  -\n",
    "upper case": f"{OLD.upper()}  data.bin\n",
    "from Windows": f"{OLD}  data.bin\r\n",
    "tagged": f"SHA256 (data.bin) = {OLD}\n",
    "from openssl": f"SHA2-256(data.bin)= {OLD}\n",
    "announced": f"{NEW}  data.bin\n# previous=sha256:{OLD}\n",
    "2.0.3 style": f"{OLD}  data.bin\n# algo=sha256\n# timestamp=2026-01-02T03:04:05Z\n",
    "2.0.3 style, bare": f"{OLD}  data.bin\nalgo=sha256\ntimestamp=2026-01-02T03:04:05Z\n",
    "interrupted seal": f"{OLD}  data.bin\n# prev\0\0\0{OTHER}\n",
    "alias": f"{OLD}  alias\n",
}
LISTS = {
    "of several": f"{OTHER}  a\n{OLD}  data.bin\n{OTHER}  b\n",
    "tagged": f"SHA256 (a) = {OTHER}\nSHA256 (data.bin) = {OLD}\n",
    "twice the same": f"{OLD}  data.bin\n{OLD}  ./data.bin\n",
    "with a comment": f"{OLD}  data.bin\n# made by hand\n",
    "signed": SIGNED,
    "long": f"{OTHER}  a\n" * 20_000 + f"{OLD}  data.bin\n",
    "without a newline": f"{OTHER}  a\n{OLD}  data.bin",
}
FOREIGN = {
    "list of others": f"{OTHER}  a\n{OTHER}  b\n",
    "another file": f"{OLD}  renamed\n",
    "two digests": f"{OLD}  data.bin\n{NEW}  data.bin\n",
    "notes": "my own notes\n",
    "program": "#!/bin/sh\necho hello\n",
    "mixed case": f"{OLD.replace('a', 'A')}  data.bin\n",
    "text before NULs": f"hello\0{OLD}  data.bin\n",
    "other path": f"{OLD}  elsewhere/data.bin\n",
    "too long": f"{OTHER}  a\n" * 250_000 + f"{OLD}  data.bin\n",
}
NO_RECORD = {"empty": "", "NULs": "\0" * 300, "many NULs": "\0" * 100_000}
