"""AWS Secrets Manager, CloudTrail and STS as boto3 sees them, in the shapes of botocore's own service models."""

from __future__ import annotations

import sys

# Each adds its steps; they build on one another in this order.
import aws_secrets  # noqa: F401
import aws_trail  # noqa: F401
import aws_limits  # noqa: F401
import aws_sts  # noqa: F401
from aws_clients import steps

if __name__ == "__main__":
    sys.exit(steps.run())
