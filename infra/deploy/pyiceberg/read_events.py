"""Prints the lake's events as pyiceberg reads them through the Glue catalog, one JSON object a line, in no order.

    python read_events.py DATABASE.TABLE [FILTER]

FILTER is a row filter of pyiceberg's, such as "type = 'order'".

Region, credentials and endpoints are AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_GLUE and
AWS_ENDPOINT_URL_S3, the last two where they are not AWS's own. What it needs is pinned in requirements.txt.
"""

import json
import os
import sys

from pyiceberg.catalog import load_catalog

# pyiceberg's names of what the SDK's variables say; pyarrow, which reads S3, does not know the variables of the endpoints.
SETTINGS = {
    "glue.endpoint": "AWS_ENDPOINT_URL_GLUE",
    "s3.endpoint": "AWS_ENDPOINT_URL_S3",
    "client.region": "AWS_REGION",
    "client.access-key-id": "AWS_ACCESS_KEY_ID",
    "client.secret-access-key": "AWS_SECRET_ACCESS_KEY",
}


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    settings = {name: os.environ[variable] for name, variable in SETTINGS.items() if variable in os.environ}
    table = load_catalog("penstock", type="glue", **settings).load_table(sys.argv[1])
    filters = [condition for condition in sys.argv[2:] if condition]
    for batch in table.scan(*filters).to_arrow_batch_reader():
        for row in batch.to_pylist():
            print(json.dumps(row, default=str, ensure_ascii=False))


if __name__ == "__main__":
    main()
