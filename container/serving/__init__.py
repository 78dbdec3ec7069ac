"""The serving side of the contract: requests, responses, models, the server."""
