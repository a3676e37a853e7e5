"""The reference gateway client: store and forward of measures to the ChileMedido input API."""
