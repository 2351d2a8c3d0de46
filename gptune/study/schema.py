"""The tables of a file of studies. A change that older versions cannot read raises ``SCHEMA``."""

SCHEMA = 1  # PRAGMA user_version
TABLES = """
CREATE TABLE study (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, direction TEXT NOT NULL, space TEXT,
  seed INTEGER NOT NULL, created REAL NOT NULL, revision INTEGER NOT NULL DEFAULT 0,
  begun INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE trial (
  study INTEGER NOT NULL REFERENCES study(id) ON DELETE CASCADE, number INTEGER NOT NULL,
  state TEXT NOT NULL, params TEXT NOT NULL DEFAULT '{}', space TEXT NOT NULL DEFAULT '{}',
  fixed TEXT NOT NULL DEFAULT '{}', value REAL, noise REAL, error TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0, worker TEXT NOT NULL DEFAULT '', begun REAL, ended REAL,
  memory TEXT NOT NULL DEFAULT '{}', revision INTEGER NOT NULL,
  PRIMARY KEY (study, number)
) WITHOUT ROWID;
CREATE INDEX trial_revision ON trial (study, revision);
CREATE INDEX trial_open ON trial (study, state, number) WHERE state IN ('waiting', 'running');
CREATE TABLE report (
  study INTEGER NOT NULL, number INTEGER NOT NULL, step INTEGER NOT NULL, value REAL NOT NULL,
  PRIMARY KEY (study, number, step),
  FOREIGN KEY (study, number) REFERENCES trial(study, number) ON DELETE CASCADE
) WITHOUT ROWID;
"""
COLUMNS = (
    "number, state, params, space, fixed, value, noise, error, attempts, worker, begun, ended, "
    "memory"
)
