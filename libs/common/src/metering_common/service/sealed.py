"""Secrets at rest (signing keys, the portal's credentials): AES-GCM under a master key from the environment."""

import base64
import binascii
import hashlib
import os
from collections.abc import Callable, Iterable
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

_KEY_BYTES = 32
_ID_BYTES = 8  # ASCII hex digits, so that SQL can tell which rows still wait for a new master key
_NONCE_BYTES = 12


class SealedError(Exception):
    """What is sealed cannot be opened: another master key, another context, or changed bytes."""


class UnknownMasterKeyError(SealedError):
    """It was sealed under a master key that this process does not have."""


class MasterKey:
    """One master key. `id` is the first 8 hex digits of the key's SHA-256; it says nothing else about the key."""

    def __init__(self, key: bytes, randomness: Callable[[int], bytes] = os.urandom) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a master key has {_KEY_BYTES} bytes, this has {len(key)}")
        self.id = hashlib.sha256(key).hexdigest()[:_ID_BYTES]
        self._cipher = AESGCM(key)
        self._randomness = randomness

    @classmethod
    def parse(cls, text: SecretStr) -> Self:
        """From 32 bytes of base64url, padded or not; raises ValueError without telling the text."""
        plain = text.get_secret_value().strip()
        try:
            key = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("a master key is 32 bytes in base64url") from None
        return cls(key)

    def __repr__(self) -> str:
        return f"MasterKey(id={self.id!r})"

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Key id, nonce, ciphertext and tag. `context` says what it belongs to; it must be told again to open."""
        nonce = self._randomness(_NONCE_BYTES)
        return self.id.encode() + nonce + self._cipher.encrypt(nonce, plaintext, self._bound(context))

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises `SealedError`."""
        if master_key_id(sealed) != self.id:
            raise UnknownMasterKeyError(f"sealed under master key {master_key_id(sealed)!r}, this is {self.id!r}")
        nonce = sealed[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
        try:
            return self._cipher.decrypt(nonce, sealed[_ID_BYTES + _NONCE_BYTES :], self._bound(context))
        except (InvalidTag, ValueError):
            raise SealedError("the sealed bytes or their context were changed") from None

    def _bound(self, context: bytes) -> bytes:
        return self.id.encode() + context


class Keyring:
    """Seals under the first key, opens under any: for the time in which a new master key replaces an old one."""

    def __init__(self, newest: MasterKey, older: Iterable[MasterKey] = ()) -> None:
        self.newest = newest
        self._keys = {key.id: key for key in (*older, newest)}

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        return self.newest.seal(plaintext, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises `SealedError`, as its subclass `UnknownMasterKeyError` when no key of the ring sealed it."""
        key = self._keys.get(master_key_id(sealed))
        if key is None:
            raise UnknownMasterKeyError(f"sealed under master key {master_key_id(sealed)!r}, which is not in the ring")
        return key.open(sealed, context)

    def rewrap(self, sealed: bytes, context: bytes) -> bytes:
        """The same secret under the newest key; unchanged when it is already."""
        if master_key_id(sealed) == self.newest.id:
            return sealed
        return self.seal(self.open(sealed, context), context)


def master_key_id(sealed: bytes) -> str:
    """Which master key sealed it."""
    return sealed[:_ID_BYTES].decode("ascii", "replace")
