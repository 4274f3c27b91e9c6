"""What another engine does to a table of ours: PyIceberg, a command a line of standard input, an answer a line.

    foreign_engine.py DATA_DIR TABLE

Commands are JSON arrays: ["add-column", NAME], ["rename-column", FROM, TO], ["delete", EXPRESSION],
["rollback", SNAPSHOT_ID], ["expire"], ["drop"], ["rename", TO], ["create-foreign"], ["current"], ["count"],
["count-of", TABLE].
"""

import datetime
import json
import sys

from pyiceberg.catalog import load_catalog
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, LongType, NestedField


def run(catalog, name, command, *arguments):
    if command == "drop":
        return catalog.drop_table(name)
    if command == "rename":
        catalog.rename_table(name, arguments[0])
        return None
    if command == "count-of":
        return catalog.load_table(arguments[0]).scan().to_arrow().num_rows
    if command == "create-foreign":
        catalog.create_table(name, Schema(NestedField(1, "x", LongType(), required=False)))
        return None
    table = catalog.load_table(name)
    match command:
        case "add-column":
            with table.update_schema() as update:
                update.add_column(arguments[0], DoubleType())
        case "rename-column":
            with table.update_schema() as update:
                update.rename_column(arguments[0], arguments[1])
        case "delete":
            table.delete(arguments[0])
        case "rollback":
            table.manage_snapshots().rollback_to_snapshot(int(arguments[0])).commit()
        case "expire":
            tomorrow = datetime.datetime.now() + datetime.timedelta(days=1)
            table.maintenance.expire_snapshots().older_than(tomorrow).commit()
        case "current":
            return str(table.current_snapshot().snapshot_id)
        case "count":
            return table.scan().to_arrow().num_rows
    return None


def main() -> None:
    data, name = sys.argv[1:]
    catalog = load_catalog(
        "millrace", type="sql", uri=f"sqlite:///{data}/catalog.db", warehouse=f"file://{data}/warehouse"
    )
    for line in sys.stdin:
        print(json.dumps(run(catalog, name, *json.loads(line))), flush=True)


main()
