"""Small ledgers to verify: entries in a row, as lines, and checkpoints over them."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.fingerprint import canonical_json
from mlops_assets.ledger.checkpoint import Checkpoint
from mlops_assets.ledger.entry import Entry, chain
from mlops_assets.ledger.store import Ledger
from mlops_assets.storage.keys import SigningKey
from mlops_assets.storage.sql.database import Database

AT = datetime(2026, 1, 5, 12, tzinfo=UTC)
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))


def change(number: int = 1) -> Change:
    return Change(
        actor="ana", action="report.seal", subject=f"reports/r{number}", after="f" * 64, details={"n": number}
    )


def entries(count: int) -> list[Entry]:
    made: list[Entry] = []
    for number in range(count):
        made.append(chain(change(number), after=made[-1] if made else None, at=AT))
    return made


def append(ledger: Ledger, database: Database, count: int) -> None:
    for number in range(count):
        with database.begin() as connection:
            ledger.append(connection, change(number))


def line_of(entry: Entry) -> bytes:
    return canonical_json(entry.as_json())


def checkpoint_at(chained: list[Entry], seq: int, key: SigningKey = KEY) -> Checkpoint:
    unsigned = Checkpoint(ledger=chained[0].hash, seq=seq, head_hash=chained[seq - 1].hash, at=AT, key_id=key.key_id)
    return unsigned.signed_by(key)
