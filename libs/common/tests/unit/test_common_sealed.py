"""What is sealed opens only under its master key, for its context, unchanged; and no master key is ever shown."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from metering_common.service.sealed import Keyring, MasterKey, SealedError, UnknownMasterKeyError, master_key_id

pytestmark = pytest.mark.fast

OLD, NEW = MasterKey(b"o" * 32), MasterKey(b"n" * 32)


@given(st.binary(), st.binary())
def test_a_secret_comes_back_in_its_context(secret: bytes, context: bytes) -> None:
    assert NEW.open(NEW.seal(secret, context), context) == secret


@given(st.binary(), st.data())
def test_a_changed_byte_is_noticed(secret: bytes, data: st.DataObject) -> None:
    sealed = bytearray(NEW.seal(secret, b"context"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealedError):
        NEW.open(bytes(sealed), b"context")


@given(st.binary(max_size=40))
def test_arbitrary_bytes_do_not_open(sealed: bytes) -> None:
    with pytest.raises(SealedError):
        NEW.open(NEW.id.encode() + sealed, b"")


def test_another_context_does_not_open() -> None:
    with pytest.raises(SealedError, match="context"):
        NEW.open(NEW.seal(b"secret", b"key:1"), b"key:2")


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert NEW.seal(b"secret", b"") != NEW.seal(b"secret", b"")


def test_what_is_sealed_begins_with_the_id_of_its_master_key() -> None:
    assert NEW.seal(b"secret", b"").startswith(NEW.id.encode())
    assert master_key_id(NEW.seal(b"secret", b"")) == NEW.id
    assert len(NEW.id) == 8


def test_another_master_key_says_which_one_is_missing() -> None:
    with pytest.raises(UnknownMasterKeyError, match=OLD.id):
        NEW.open(OLD.seal(b"secret", b""), b"")


def test_a_keyring_opens_the_old_and_seals_under_the_new() -> None:
    ring = Keyring(NEW, [OLD])
    old = OLD.seal(b"secret", b"c")
    assert ring.open(old, b"c") == b"secret"
    rewrapped = ring.rewrap(old, b"c")
    assert master_key_id(rewrapped) == NEW.id
    assert NEW.open(rewrapped, b"c") == b"secret"
    assert ring.rewrap(rewrapped, b"c") == rewrapped
    with pytest.raises(UnknownMasterKeyError):
        Keyring(NEW).open(old, b"c")


@pytest.mark.parametrize("padding", ["", "="])
def test_a_master_key_is_read_from_base64url_padded_or_not(padding: str) -> None:
    text = base64.urlsafe_b64encode(b"\xff" * 32).decode().rstrip("=") + padding
    assert MasterKey.parse(SecretStr(text)).id == MasterKey(b"\xff" * 32).id


@pytest.mark.parametrize("text", ["", "short", "not base64url at all!", "A" * 44, "ñ" * 43])
def test_a_wrong_master_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="master key") as refusal:
        MasterKey.parse(SecretStr(text))
    assert not text or text not in str(refusal.value)


def test_a_master_key_does_not_show_itself() -> None:
    assert repr(NEW) == f"MasterKey(id={NEW.id!r})"
    assert "nnnn" not in str(vars(NEW))
