"""What an API token is: an id, a secret that is shown once, and the hash that is kept."""
