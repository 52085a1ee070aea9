// The tree of customers and sites as a person may see it: names along a path, roles that hold below a node.
import type { Node, Schemas } from "../api/client";

export type Role = Schemas["PersonRole"];
export const ROLES: readonly Role[] = ["viewer", "operator", "admin"];

/** One of a newer server lets look, and no more. */
export function roleOf(word: string): Role {
  return ROLES.find((role) => role === word) ?? "viewer";
}

export class Tree {
  readonly nodes: readonly Node[];
  private readonly byId: ReadonlyMap<string, Node>;

  constructor(nodes: readonly Node[]) {
    this.nodes = nodes;
    this.byId = new Map(nodes.map((node) => [node.id, node]));
  }

  get(id: string | undefined): Node | undefined {
    return id === undefined ? undefined : this.byId.get(id);
  }

  /** The node and all above it that may be seen, the nearest first. */
  upwards(id: string): Node[] {
    const found: Node[] = [];
    for (let node = this.byId.get(id); node && !found.includes(node); node = this.get(node.parent ?? undefined)) {
      found.push(node);
    }
    return found;
  }

  below(id: string, kind?: string): Node[] {
    return this.nodes.filter(
      (node) => (kind === undefined || node.kind === kind) && this.upwards(node.id).some((above) => above.id === id),
    );
  }

  children(id: string): Node[] {
    return this.nodes.filter((node) => node.parent === id);
  }

  ofKind(kind: "organisation" | "customer" | "site"): Node[] {
    return this.nodes.filter((node) => node.kind === kind);
  }

  customerOf(id: string): Node | undefined {
    return this.upwards(id).find((node) => node.kind === "customer");
  }

  /** `Bakery › Main street`: without the organisation, which is the same for all. */
  name(id: string): string {
    const path = this.upwards(id).filter((node, at) => node.kind !== "organisation" || at === 0);
    return path.length === 0
      ? id
      : path
          .map((node) => node.name)
          .reverse()
          .join(" › ");
  }
}

/** The strongest role that holds on a node. A grant ends with the node it was given on. */
export function roleAt(grants: readonly Schemas["Grant"][], tree: Tree, id: string): Role | undefined {
  const above = new Set(tree.upwards(id).map((node) => node.id));
  const roles = grants.filter((grant) => above.has(grant.path.split("/").at(-2) ?? "")).map((grant) => grant.role);
  return ROLES.toReversed().find((role) => roles.includes(role));
}

export function reaches(role: Role | undefined, needed: Role): boolean {
  return role !== undefined && ROLES.indexOf(role) >= ROLES.indexOf(needed);
}
