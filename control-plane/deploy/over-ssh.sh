#!/bin/sh
# over-ssh.sh COMMAND…: runs a command whose docker is that of SAVEOS_SSH_HOST (user@host), and brings the files that containers there
# mount. The key comes by the environment and stays in an agent that ends with the command.
set -eu

: "${SAVEOS_SSH_HOST:?user@host}" "${SAVEOS_SSH_KNOWN_HOSTS:?the line of the host, as ssh-keyscan prints it}"
: "${SAVEOS_SSH_KEY:?the private key}"
folder=$(mktemp -d)
eval "$(ssh-agent -s)" >/dev/null
trap 'ssh-agent -k >/dev/null; rm -rf "$folder"' EXIT
printf '%s\n' "$SAVEOS_SSH_KEY" | ssh-add -q -
unset SAVEOS_SSH_KEY
printf '%s\n' "$SAVEOS_SSH_KNOWN_HOSTS" >"$folder/known_hosts"
# Docker starts ssh by its name, so it is told by a program of that name.
mkdir "$folder/bin"
real=$(command -v ssh)
printf '#!/bin/sh\nexec %s -o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes "$@"\n' "$real" "$folder/known_hosts" \
    >"$folder/bin/ssh"
chmod +x "$folder/bin/ssh"
PATH="$folder/bin:$PATH"
export PATH DOCKER_HOST="ssh://$SAVEOS_SSH_HOST" SAVEOS_HOST_FOLDER="${SAVEOS_HOST_FOLDER:-/opt/saveos}"

# Beside the old ones and then in their place: containers that run have the old files open.
tar -C control-plane/deploy -cf - compose prometheus grafana \
    | ssh "$SAVEOS_SSH_HOST" "mkdir -p '$SAVEOS_HOST_FOLDER' && tar -C '$SAVEOS_HOST_FOLDER' --unlink-first -xf -"
"$@"
