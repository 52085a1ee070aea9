#!/bin/sh
# Makes an authority and a signer for bundles of a bench. They sign nothing that leaves this machine; releases have keys of their own.
# usage: keys.sh FOLDER
set -eu
[ ! -e "$1/signer.pem" ] || exit 0
mkdir -p "$1.new"
cd "$1.new"
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7300 -keyout authority.key -out authority.pem -subj "/O=SaveOS bench/CN=authority" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout signer.key -out signer.csr -subj "/O=SaveOS bench/CN=signer" 2>/dev/null
openssl x509 -req -in signer.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 7300 -out signer.pem 2>/dev/null
rm -f signer.csr
mv "$1.new" "$1"
