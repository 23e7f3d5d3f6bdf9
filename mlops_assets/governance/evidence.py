"""What an approval is bound to: named parts with their fingerprints, and which of them moved."""
