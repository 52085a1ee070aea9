// The API lists an account once for each of its roles; a person is shown once. Pure.
import type { Schemas } from "../api/client";

export interface Person {
  id: string;
  email: string;
  grants: { node: string; role: string }[];
}

export function gather(accounts: readonly Schemas["Account"][]): Person[] {
  const people = new Map<string, Person>();
  for (const { id, email, node, role } of accounts) {
    const person = people.get(id) ?? { id, email, grants: [] };
    person.grants.push({ node, role });
    people.set(id, person);
  }
  return [...people.values()].sort((one, other) => one.email.localeCompare(other.email));
}
