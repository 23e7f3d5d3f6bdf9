"""Who there is: people and services, their roles, and what a file of them changes."""
