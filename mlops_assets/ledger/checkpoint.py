"""What a signed checkpoint of the ledger says, and whether its signature holds."""
