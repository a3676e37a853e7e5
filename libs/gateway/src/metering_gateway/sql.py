"""Reads the client's named queries from its .sql files."""

from importlib.resources import files


def load(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def named_queries(name: str) -> dict[str, str]:
    """Each `-- name: x` heads one statement; the comment lines under it say what it is for."""
    queries: dict[str, str] = {}
    for block in load(name).split("-- name: ")[1:]:
        title, _, rest = block.partition("\n")
        queries[title.strip()] = "\n".join(line for line in rest.splitlines() if not line.startswith("--")).strip()
    return queries
