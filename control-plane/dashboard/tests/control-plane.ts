// A control plane of a test: the real program on its own folder and free ports, with its own broker; and boxes with real daemons.
import { execFile, execFileSync, spawn, type ChildProcess } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  copyFileSync,
} from "node:fs";
import { request } from "node:https";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { Schemas } from "../src/api/client";

const BIN = resolve(process.env["SAVEOS_BIN"] ?? join(import.meta.dirname, "../../../target/debug"));
const ADMIN = "admin@example.org";
/** How long a program may take for one step on a slow machine. */
const PATIENCE_MS = 60_000;
const run = promisify(execFile);

interface Shown {
  password?: string;
  setup_link?: string;
  organisation: string;
  command_passphrase: string;
}

interface Beginning {
  prepare?: (database: string, organisation: string) => void;
  people?: boolean;
}

export interface Account {
  email: string;
  password: string;
}

/** Asks again until there is an answer. */
export async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look().catch(() => undefined);
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function freePorts(): Promise<[number, number]> {
  const servers = await Promise.all(
    [0, 0].map(
      (port) =>
        new Promise<ReturnType<typeof createServer>>((resolve) => {
          const server = createServer().listen(port, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const [one, other] = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return [one ?? 0, other ?? 0];
}

async function stop(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null) return;
  const ended = new Promise((resolve) => process.once("exit", resolve));
  process.kill("SIGTERM");
  await ended;
}

export class ControlPlane {
  readonly folder: string;
  readonly url: string;
  readonly admin: Account;
  /** With it the first account is made, where nobody has one. */
  readonly setupLink: string | undefined;
  readonly organisation: string;
  private readonly passphrase: string;
  private process: ChildProcess;
  private readonly boxes: Box[] = [];
  private token = "";

  private constructor(folder: string, url: string, shown: Shown, process: ChildProcess) {
    this.folder = folder;
    this.url = url;
    this.admin = { email: ADMIN, password: shown.password ?? "chosen by whoever came first" };
    this.setupLink = shown.setup_link;
    this.organisation = shown.organisation;
    this.passphrase = shown.command_passphrase;
    this.process = process;
  }

  /** `prepare` may change the database before the server runs for good. Without people, a test makes `admin` itself. */
  static async start({ prepare, people = true }: Beginning = {}): Promise<ControlPlane> {
    const folder = mkdtempSync(join(tmpdir(), "saveos-web-"));
    const data = join(folder, "data");
    const [https, mqtt] = await freePorts();
    const where = [
      "--host",
      "localhost",
      "--bind",
      "127.0.0.1",
      "--https-port",
      String(https),
      "--mqtt-port",
      String(mqtt),
    ];
    const who = ["--organisation", "Test GmbH", ...(people ? ["--admin", ADMIN] : [])];
    const said = execFileSync(join(BIN, "saveos-server"), ["init", "--json", "--data", data, ...where, ...who]);
    const shown = JSON.parse(said.toString()) as Shown;
    prepare?.(join(data, "saveos.sqlite"), shown.organisation);
    const process = ControlPlane.run(folder);
    const plane = new ControlPlane(folder, `https://localhost:${String(https)}`, shown, process);
    await plane.ready();
    return plane;
  }

  private static run(folder: string): ChildProcess {
    const log = openSync(join(folder, "server.log"), "a");
    const words = ["run", "--data", join(folder, "data")];
    return spawn(join(BIN, "saveos-server"), words, { stdio: ["ignore", "ignore", log] });
  }

  private async ready(): Promise<void> {
    await until("the control plane is ready", async () =>
      (await this.send("GET", "/readyz")).status === 200 ? true : undefined,
    );
  }

  /** The server goes away, and comes back with `goOn`. */
  async pause(): Promise<void> {
    await stop(this.process);
  }

  async goOn(): Promise<void> {
    this.process = ControlPlane.run(this.folder);
    await this.ready();
  }

  /** What an administrator does on the server itself, with what this page printed. */
  sign(line: string): string {
    const words = line.replace(
      "saveos-server sign",
      `'${join(BIN, "saveos-server")}' sign --data '${join(this.folder, "data")}'`,
    );
    const env = { ...process.env, SAVEOS_COMMAND_PASSPHRASE: this.passphrase };
    return execFileSync("sh", ["-c", words], { env }).toString();
  }

  async stop(): Promise<void> {
    for (const box of this.boxes) await box.stop();
    await stop(this.process);
    rmSync(this.folder, { recursive: true, force: true });
  }

  send(method: string, path: string, body?: unknown, token?: string): Promise<{ status: number; json: unknown }> {
    const ca = readFileSync(join(this.folder, "data/authority.pem"));
    const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
    return new Promise((resolve, reject) => {
      const asked = request(`${this.url}${path}`, { method, ca, headers }, (answer) => {
        let text = "";
        answer.on("data", (part: Buffer) => (text += part.toString()));
        answer.on("end", () => {
          const isJson = answer.headers["content-type"]?.includes("json");
          resolve({ status: answer.statusCode ?? 0, json: isJson ? (JSON.parse(text) as unknown) : text });
        });
      });
      asked.on("error", reject);
      asked.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** As the administrator; what is refused fails the test. */
  async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    if (this.token === "") {
      const { json } = await this.send("POST", "/api/v1/login", this.admin);
      this.token = (json as Schemas["Session"]).token;
    }
    const { status, json } = await this.send(method, path, body, this.token);
    if (status >= 300) throw new Error(`${method} ${path}: ${String(status)} ${JSON.stringify(json)}`);
    return json as T;
  }

  async node(kind: "customer" | "site", parent: string, name: string): Promise<string> {
    return (await this.ask<Schemas["Made"]>("POST", "/api/v1/nodes", { kind, parent, name })).id;
  }

  async person(email: string, node: string, role: Schemas["PersonRole"]): Promise<Account> {
    const { password } = await this.ask<Schemas["MadeAccount"]>("POST", "/api/v1/accounts", { email, node, role });
    return { email, password };
  }

  async box(): Promise<Box> {
    const box = new Box(this);
    this.boxes.push(box);
    await until("the box answers", () => box.status());
    return box;
  }
}

interface Status {
  device: string;
  claim_code: string;
  claim_link?: string;
  recoverable: boolean;
}

export class Box {
  readonly folder: string;
  private readonly process: ChildProcess;
  private loop: string | undefined;

  constructor(plane: ControlPlane) {
    this.folder = mkdtempSync(join(plane.folder, "box-"));
    mkdirSync(join(this.folder, "disks"));
    // A disk is as healthy as the file `failing` says.
    this.script(
      "smartctl",
      `if [ -e '${join(this.folder, "failing")}' ]; then printf '%s' '${SMART(false)}'; else printf '%s' '${SMART(true)}'; fi`,
    );
    this.script("journalctl", `cat '${join(this.folder, "log")}'`);
    const log = openSync(join(this.folder, "log"), "a");
    this.process = spawn(
      join(BIN, "saveosd"),
      [
        ...["run", "--data", join(this.folder, "data"), "--disks-dir", join(this.folder, "disks")],
        ...["--socket", this.socket, "--server", plane.url, "--heartbeat", "2"],
        ...["--server-authority", join(plane.folder, "data/authority.pem")],
        ...["--smartctl", join(this.folder, "smartctl"), "--journalctl", join(this.folder, "journalctl")],
      ],
      { stdio: ["ignore", "ignore", log] },
    );
  }

  private get socket(): string {
    return join(this.folder, "socket");
  }

  private script(name: string, text: string): void {
    writeFileSync(join(this.folder, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(this.folder, name), 0o755);
  }

  private async say<T>(...question: string[]): Promise<T> {
    const { stdout } = await run(join(BIN, "saveosd"), [...question, "--json", "--socket", this.socket]);
    return JSON.parse(stdout) as T;
  }

  status(): Promise<Status> {
    return this.say<Status>("status");
  }

  /** A person copies the words and proves to have them. */
  async confirmWords(): Promise<void> {
    const shown = await this.say<{ words: string; confirm: [number, number] }>("words");
    const words = shown.words.split(" ");
    await this.say("confirm", ...shown.confirm.map((number) => words[number - 1] ?? ""));
  }

  /** For so long it is a slow box: four fifths of the time it stands still. What happens in between is seen, however fast the machine. */
  async slowly<T>(work: () => Promise<T>): Promise<T> {
    const turn = setInterval(() => {
      this.process.kill("SIGSTOP");
      setTimeout(() => this.process.kill("SIGCONT"), 80);
    }, 100);
    try {
      return await work();
    } finally {
      clearInterval(turn);
      this.process.kill("SIGCONT");
    }
  }

  /** The image appears whole, as a disk does. */
  plug(image: string): void {
    const draft = join(this.folder, "draft.img");
    copyFileSync(image, draft);
    renameSync(draft, join(this.folder, "disks/till.img"));
  }

  /** As a block device, which can be asked for its health; needs root, as a daemon on a box has it. */
  plugDevice(image: string): void {
    this.loop = execFileSync("losetup", ["--find", "--show", image]).toString().trim();
    const draft = join(this.folder, "draft.img");
    symlinkSync(this.loop, draft);
    renameSync(draft, join(this.folder, "disks/till.img"));
  }

  unplug(): void {
    rmSync(join(this.folder, "disks/till.img"));
    if (this.loop !== undefined) execFileSync("losetup", ["--detach", this.loop]);
    this.loop = undefined;
  }

  /** From its next plugging in, the disk says that it will break. */
  fail(): void {
    writeFileSync(join(this.folder, "failing"), "");
  }

  async stop(): Promise<void> {
    await stop(this.process);
    if (this.loop !== undefined) this.unplug();
  }
}

const SMART = (passed: boolean) =>
  JSON.stringify({ smart_status: { passed }, temperature: { current: 41 }, power_on_time: { hours: 26_280 } });

/** A disk with one ext4 partition; its files do not compress, so that there is something to watch. */
export function makeDisk(image: string, mebibytes: number): void {
  const content = mkdtempSync(join(tmpdir(), "saveos-content-"));
  const size = (mebibytes + 64) * 1024;
  execFileSync("dd", [
    "if=/dev/urandom",
    `of=${join(content, "photos.bin")}`,
    "bs=1M",
    `count=${String(mebibytes)}`,
    "status=none",
  ]);
  writeFileSync(join(content, "letter.txt"), "Dear all,\n");
  execFileSync("truncate", ["-s", `${String(size + 2048)}K`, image]);
  execFileSync("sgdisk", ["--new=1:2048:0", "--typecode=1:8300", "--change-name=1:data", image], { stdio: "ignore" });
  execFileSync("mke2fs", [
    "-q",
    "-F",
    "-t",
    "ext4",
    "-L",
    "data",
    "-E",
    "offset=1048576",
    "-d",
    content,
    image,
    `${String(size)}K`,
  ]);
  rmSync(content, { recursive: true });
}
