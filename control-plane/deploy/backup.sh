#!/usr/bin/env bash
# Backs the control plane up, encrypted on the way, and forgets backups that are too old. Whoever runs it can read none of them: the
# identity that opens them lies with people, off this machine (docs/runbooks/restore-control-plane.md).
#
# backup.sh DATA RECIPIENTS FOLDER [DAYS]
set -euo pipefail
umask 077
data=$1 recipients=$2 folder=$3 days=${4:-30}
name=$folder/saveos-$(date --utc +%Y-%m-%dT%H-%M-%SZ).tar.age
trap 'rm -f "$name.new"' EXIT
saveos-server backup --data "$data" --to - | age --encrypt --recipients-file "$recipients" --output "$name.new"
sync --data "$name.new"
mv "$name.new" "$name"
sync "$folder"
# Only after a new one is there: a machine that cannot make any more keeps those that it has.
find "$folder" -maxdepth 1 -name 'saveos-*.tar.age' -mtime "+$days" -delete
echo "$name"
