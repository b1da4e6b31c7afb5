"""The tables of a log in an SQL database, and the statements over them.

    meta     schema_version                       one row
    studies  id, name                             ids are never used twice: a study that was deleted and created again is noticed
    records  study_id, seq, body, checksum        (study_id, seq) is the primary key: compare-and-append is one INSERT
    leases   study_id, owner, beat                a counter per owner of running trials; it stands still when the owner is gone
    snapshots  study_id, body                     caches; made when the first one is kept, so that older versions go on beside it
    damaged  study, seq, body, checksum, moved    only where `verify(repair=True)` set a torn tail aside

Version 1 had no `leases`. On a server, where the answer to an INSERT may be lost with the connection, `records` has a column more: a unique
`token` in the first record of each append, by which a writer that comes back sees whether it was there already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import sqlalchemy as sa

SCHEMA_VERSION = 2

Run: TypeAlias = Callable[[str, dict[str, Any]], Any]  # executes a statement of the driver's SQL


class Tables:
    """Described once per database: in a schema of their own or in none, with or without tokens."""

    def __init__(self, schema: str | None = None, tokens: bool = False) -> None:
        self.metadata = sa.MetaData(schema=schema)
        self.meta = sa.Table("meta", self.metadata, sa.Column("schema_version", sa.Integer, nullable=False))
        self.studies = sa.Table(
            "studies",
            self.metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.Text, unique=True, nullable=False),
            sqlite_autoincrement=True,
        )
        self.records = sa.Table(
            "records",
            self.metadata,
            sa.Column("study_id", sa.ForeignKey(self.studies.c.id), primary_key=True),
            sa.Column("seq", sa.Integer, primary_key=True),
            sa.Column("body", sa.Text, nullable=False),
            sa.Column("checksum", sa.BigInteger, nullable=False),
            *([sa.Column("token", sa.Uuid, unique=True)] if tokens else []),
            sqlite_with_rowid=False,  # one tree instead of two: an append writes one page
        )
        self.leases = sa.Table(
            "leases",
            self.metadata,
            sa.Column("study_id", sa.ForeignKey(self.studies.c.id), primary_key=True),
            sa.Column("owner", sa.Text, primary_key=True),
            sa.Column("beat", sa.BigInteger, nullable=False),
            sqlite_with_rowid=False,
        )

        apart = sa.MetaData(schema=schema)  # not made with the others
        self.snapshots = sa.Table(
            "snapshots",
            apart,
            sa.Column("study_id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("body", sa.LargeBinary, nullable=False),
        )
        self.damaged = sa.Table(
            "damaged",
            apart,
            sa.Column("study", sa.Text),
            sa.Column("seq", sa.BigInteger),
            sa.Column("body", sa.Text),
            sa.Column("checksum", sa.BigInteger),
            sa.Column("moved", sa.Double),
        )

    @property
    def names(self) -> set[str]:
        """Of the tables of the newest version."""
        return {table.name for table in self.metadata.tables.values()}

    def study_id(self) -> sa.Select[Any]:
        """The id of the study :name."""
        return sa.select(self.studies.c.id).where(self.studies.c.name == sa.bindparam("name"))

    def end(self) -> sa.Select[Any]:
        """The end of the log of study :id."""
        records = self.records.c
        return sa.select(sa.func.coalesce(sa.func.max(records.seq) + 1, 0)).where(records.study_id == sa.bindparam("id"))

    def since(self, body: sa.ColumnElement[Any]) -> sa.Select[Any]:
        """seq, body and checksum of the records of study :id from :since to before :until; `body`: as the database should hand it out."""
        records = self.records.c
        until = sa.bindparam("until", type_=sa.BigInteger)
        mine = (records.study_id == sa.bindparam("id"), records.seq >= sa.bindparam("since"), records.seq < until)
        return sa.select(records.seq, body, records.checksum).where(*mine).order_by(records.seq)

    def snapshot(self) -> sa.Select[Any]:
        """The snapshot of study :id, as bytes whatever it is, unless it is larger than :largest."""
        body = self.snapshots.c.body
        mine = (self.snapshots.c.study_id == sa.bindparam("id"), sa.func.length(body) <= sa.bindparam("largest"))
        return sa.select(sa.cast(body, sa.LargeBinary)).where(*mine)

    def first(self, insert: Callable[[sa.Table], Any]) -> Any:
        """Inserts a record unless another writer was first, or the one before it is not there; `insert` is the dialect's."""
        records, before = self.records, self.records.alias()
        values = {column.name: sa.bindparam(column.name, type_=column.type) for column in records.columns}
        there = sa.exists().where(before.c.study_id == values["study_id"], before.c.seq == values["seq"] - sa.literal_column("1"))
        source = sa.select(*values.values()).where(sa.or_(values["seq"] == sa.literal_column("0"), there))
        return insert(records).from_select(list(values), source).on_conflict_do_nothing(index_elements=[records.c.study_id, records.c.seq])

    def beat(self, insert: Callable[[sa.Table], Any]) -> Any:
        """One more beat of :owner in the study :name; nothing where there is no such study."""
        studies, leases = self.studies.c, self.leases
        source = sa.select(studies.id, sa.bindparam("owner", type_=sa.Text), sa.literal_column("1"))
        anew = insert(leases).from_select(["study_id", "owner", "beat"], source.where(studies.name == sa.bindparam("name")))
        return anew.on_conflict_do_update(
            index_elements=[leases.c.study_id, leases.c.owner], set_={"beat": leases.c.beat + sa.literal_column("1")}
        )

    def beats(self) -> sa.Select[Any]:
        """Owner and beat of each lease of the study :name."""
        leases = self.leases.c
        return sa.select(leases.owner, leases.beat).join(self.studies).where(self.studies.c.name == sa.bindparam("name"))
