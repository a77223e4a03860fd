"""The ports' implementations on AWS: DynamoDB and S3. Only these modules speak boto3."""
