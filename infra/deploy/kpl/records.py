"""Packs and unpacks records in the Kinesis Producer Library's aggregated format with aws_kinesis_agg.

    python records.py aggregate < [user record, ...] > [record, ...]
    python records.py deaggregate < [data, ...] > [[user record, ...], ...]

Both speak JSON. A record is {"partition_key", "explicit_hash_key", "data", "aggregated"}; data is in base64.
"""

import base64
import json
import sys

from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import deaggregate_records


def text(key) -> str:
    return key.decode() if isinstance(key, bytes) else key or ""


def aggregate(users: list) -> list:
    aggregator, full = RecordAggregator(), []
    for user in users:
        full.append(aggregator.add_user_record(user["partition_key"], base64.b64decode(user["data"]), user["explicit_hash_key"] or None))
    full.append(aggregator.clear_and_get())
    return [packed(*record.get_contents()) for record in full if record]


def packed(partition_key, explicit_hash_key, data: bytes) -> dict:
    return {
        "partition_key": text(partition_key),
        "explicit_hash_key": text(explicit_hash_key),
        "data": base64.b64encode(data).decode(),
        "aggregated": True,
    }


def deaggregate(records: list) -> list:
    # As Lambda gives them, which is what the library is made for.
    rest = {"kinesisSchemaVersion": "1.0", "sequenceNumber": "0", "approximateArrivalTimestamp": 0, "partitionKey": ""}
    return [[unpacked(user["kinesis"]) for user in deaggregate_records([{"kinesis": rest | {"data": data}}])] for data in records]


def unpacked(user: dict) -> dict:
    return {
        "partition_key": user["partitionKey"],
        "explicit_hash_key": text(user.get("explicitHashKey")),
        "data": text(user["data"]),
        "aggregated": user.get("aggregated", False),
    }


def main() -> None:
    commands = {"aggregate": aggregate, "deaggregate": deaggregate}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    json.dump(commands[sys.argv[1]](json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
