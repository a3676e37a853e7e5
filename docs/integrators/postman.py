# ruff: noqa: INP001  a script that writes a page
"""Writes docs/integrators/postman.json (collection v2.1) from the published API, contracts/openapi/input.yaml."""

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
OPENAPI = HERE.parents[1] / "contracts" / "openapi" / "input.yaml"
PAGE = HERE / "postman.json"
_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_METHODS = ("get", "post", "put", "patch", "delete")
_PLAIN: dict[str, Any] = {"integer": 0, "number": 0, "boolean": True}
_KEEP_TOKENS = [
    "if (pm.response.code === 200) {",
    "  pm.collectionVariables.set('accessToken', pm.response.json().accessToken);",
    "  pm.collectionVariables.set('refreshToken', pm.response.json().refreshToken);",
    "}",
]


def collection(document: dict[str, Any]) -> dict[str, Any]:
    """One request per operation; the exchange keeps its new pair in the collection's variables."""
    items = [
        _item(path, method, operation, document)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in _METHODS
    ]
    names = {"baseUrl": "https://…", "refreshToken": "", "accessToken": ""}
    return {
        "info": {"name": document["info"]["title"], "version": document["info"]["version"], "schema": _SCHEMA},
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{accessToken}}", "type": "string"}]},
        "variable": [{"key": name, "value": value} for name, value in names.items()],
        "item": items,
    }


def _item(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    base = document.get("servers", [{"url": "/api/v1"}])[0]["url"].rstrip("/")
    url = f"{{{{baseUrl}}}}{base}{path}".replace("{", ":").replace("}", "").replace("::baseUrl", "{{baseUrl}}")
    headers = [{"key": "Accept", "value": "application/json"}]
    request: dict[str, Any] = {"method": method.upper(), "header": headers, "url": {"raw": url}}
    if operation.get("description"):
        request["description"] = operation["description"]
    body = _example(operation, document)
    if body is not None:
        headers.append({"key": "Content-Type", "value": "application/json"})
        request["body"] = {"mode": "raw", "raw": body}
    item: dict[str, Any] = {"name": operation.get("summary", path), "request": request}
    if path.endswith("/auth/token/refresh"):
        request["auth"] = {"type": "noauth"}
        item["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": _KEEP_TOKENS}}]
    return item


def _example(operation: dict[str, Any], document: dict[str, Any]) -> str | None:
    """The operation's own example, else one made from its schema."""
    content = _resolved(operation.get("requestBody", {}), document).get("content", {}).get("application/json")
    if content is None:
        return None
    examples = content.get("examples", {})
    example = content.get("example") or next((_resolved(e, document)["value"] for e in examples.values()), None)
    made = example if example is not None else _sample(content.get("schema", {}), document)
    if isinstance(made, dict) and "refreshToken" in made:
        made = made | {"refreshToken": "{{refreshToken}}"}
    return json.dumps(made, ensure_ascii=False, indent=2)


def _sample(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    schema = _resolved(schema, document)
    if "example" in schema:
        return schema["example"]
    if "examples" in schema:
        return schema["examples"][0]
    if schema.get("type") == "object":
        return {name: _sample(s, document) for name, s in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [_sample(schema.get("items", {}), document)]
    return _PLAIN.get(schema.get("type", ""), "text")


def _resolved(node: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = document
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        node = found
    return node


def text() -> str:
    """The page as it is to stand in the file."""
    return json.dumps(collection(yaml.safe_load(OPENAPI.read_text())), ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text())
