"""What auth writes into a token and whoever reads it holds to (docs/architecture.md, *Tokens*)."""

ALGORITHM = "RS256"
ISSUER = "Provider Auth Server"
LEEWAY_SECONDS = 30
"""Of `exp` and `iat` alike."""
