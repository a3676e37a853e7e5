"""Secrets that stand in files, as Kubernetes mounts them: `NAME_FILE` names the file of the setting `NAME`."""

import os
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource


class SecretFileError(Exception):
    """A secret's file cannot be read; the text names the variable."""


class SecretFiles(PydanticBaseSettingsSource):
    """Looked at after the environment; a secret that stands in both is a mistake that nobody should have to guess."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{self.config.get('env_prefix', '')}{field_name}".upper()
        file = os.environ.get(f"{variable}_FILE")
        if not file or not is_secret(field):
            return None, field_name, False
        if os.environ.get(variable):
            raise SecretFileError(f"{variable}_FILE: is set beside {variable}, and only one of them can hold")
        return _read(f"{variable}_FILE", Path(file)), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is never shown."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _read(variable: str, file: Path) -> str:
    """Without the line's end that editors put behind it."""
    try:
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretFileError(f"{variable}: {file} cannot be read ({type(error).__name__})") from None
    if not text:
        raise SecretFileError(f"{variable}: {file} is empty")
    return text
