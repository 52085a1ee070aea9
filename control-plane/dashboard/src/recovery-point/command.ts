// The command of a restore, as it is signed on the server. Pure: ids are made from what is given.
export type What = "disk" | "partition" | "files";

export interface Wanted {
  what: What;
  target: string;
  partition: number;
  paths: string;
  snapshot: string;
}

/** A restore may be confirmed by a person within a day. */
const LIFE_MS = 24 * 3_600_000;

/** The command without its signature. */
export function commandText(wanted: Wanted, now: number): string {
  const extent =
    wanted.what === "disk"
      ? { what: "disk", target: wanted.target }
      : wanted.what === "partition"
        ? { what: "partition", number: wanted.partition, target: wanted.target }
        : {
            what: "files",
            partition: wanted.partition,
            paths: wanted.paths.split("\n").filter((path) => path !== ""),
            stick: wanted.target,
          };
  const id = `cmd-${ulid(now)}`;
  return JSON.stringify({
    v: 1,
    id,
    type: "restore",
    args: { snapshot: wanted.snapshot, extent },
    exp: now + LIFE_MS,
    idem: id,
  });
}

/** What is typed on the server. */
export function signLine(device: string, command: string): string {
  const quoted = command.replaceAll("'", "'\\''");
  return `printf '%s' '${quoted}' | saveos-server sign --what command --device ${device}`;
}

const LETTERS = "0123456789abcdefghjkmnpqrstvwxyz";

/** 48 bits of time and 80 of chance in Crockford's letters (github.com/ulid/spec). */
export function ulid(now: number, chance = crypto.getRandomValues(new Uint8Array(16))): string {
  let time = "";
  for (let rest = now, at = 0; at < 10; at += 1, rest = Math.floor(rest / 32))
    time = (LETTERS[rest % 32] ?? "0") + time;
  return time + [...chance].map((byte) => LETTERS[byte % 32]).join("");
}
