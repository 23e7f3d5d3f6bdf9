"""What an approval needs by risk tier, and how long it holds."""
