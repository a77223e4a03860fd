"""The gateway: a small HTTP server that hands requests to the Lambda's own handler as API Gateway would."""
