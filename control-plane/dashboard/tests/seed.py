"""A large fleet for a database that no server runs on: boxes at sites of customers, some of them offline or not protected."""

import sqlite3
import sys
import time

database, organisation, boxes = sys.argv[1], sys.argv[2], int(sys.argv[3])
now = int(time.time() * 1000)
db = sqlite3.connect(database)
db.execute("PRAGMA synchronous = OFF")
count = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)"
customers, sites = boxes // 100, boxes // 20
db.execute(
    f"""INSERT INTO node (id, parent, path, kind, name, made_ms) {count}
    SELECT printf('c-%026d', i), ?, '/' || ? || '/' || printf('c-%026d', i) || '/', 'customer', 'Customer ' || i, 1 FROM n""",
    (customers, organisation, organisation),
)
db.execute(
    f"""INSERT INTO node (id, parent, path, kind, name, made_ms) {count}
    SELECT printf('s-%026d', i), printf('c-%026d', i % ?),
    '/' || ? || '/' || printf('c-%026d', i % ?) || '/' || printf('s-%026d', i) || '/', 'site', 'Site ' || i, 1 FROM n""",
    (sites, customers, organisation, customers),
)
db.execute(
    f"""INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial, until_ms, heard_ms, born_ms,
    session, heartbeat, desired, desired_ver, applied_ver, recoverable_ms) {count}
    SELECT printf('d-%026d', i), printf('s-%026d', i % ?), 'Box ' || i, 'k' || i, '', '1.' || (i % 3), 1, 's' || i, ?,
    CASE WHEN i % 10 = 0 THEN ? - 86400000 ELSE ? END, 1, 1, NULL, '{{}}', 1, 1, CASE WHEN i % 50 = 0 THEN NULL ELSE 1 END FROM n""",
    (boxes, sites, now + 10**10, now, now),
)
db.execute(
    f"""INSERT INTO disk (device, id, identity, bus, size_bytes, seen_ms) {count}
    SELECT printf('d-%026d', i), printf('disk-%026d', i), '{{}}', 'usb', 1000000000000, ? FROM n""",
    (boxes, now - 10**9),
)
db.execute(
    f"""INSERT INTO recovery_point (device, snapshot, disk, taken_ms, state, summary) {count}
    SELECT printf('d-%026d', i), printf('%064d', i), printf('disk-%026d', i),
    CASE WHEN i % 20 = 0 THEN ? - 200000000 ELSE ? - 3600000 END, 'complete', '{{}}' FROM n""",
    (boxes, now, now),
)
db.execute("UPDATE appliance SET protected_until_ms = NULL")
db.commit()
