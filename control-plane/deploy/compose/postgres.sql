-- Run once, when the folder of the database is made: the user of the control plane. It owns its database and is no superuser, for whom
-- row security would not hold (docs/CLUSTER.md). Nobody gets in as the superuser but from within the container.
\set password `cat /run/secrets/postgres_password`
CREATE ROLE saveos LOGIN PASSWORD :'password';
-- Sorted by bytes, as pages of lists are on every engine.
CREATE DATABASE saveos OWNER saveos TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
ALTER ROLE postgres PASSWORD NULL;
