"""What serving needs of the contract: requests, responses, models, the server."""
