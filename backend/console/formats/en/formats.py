"""Dates as the dashboard, the logs and the API write them: shorter than Django's English, and they sort."""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i:s"
