"""D2: models as declarations, tracked, registered, watched for drift and deployed by checklist."""
