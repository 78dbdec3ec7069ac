"""The platform's side on a user's machine: never in an image."""
