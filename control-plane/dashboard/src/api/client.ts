// The API: types from the OpenAPI document, one way to ask, one kind of error. Who is signed in travels in a cookie that no script reads.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];
export type Appliance = Schemas["Appliance"];
export type Disk = Schemas["Disk"];
export type Reason = Schemas["Reason"];
export type Node = Schemas["Node"];

/** The server reads this header on every change: no foreign page can send it. */
export const api = createClient<paths>({ baseUrl: "/", headers: { "X-SaveOS": "1" } });

/** What the server says is wrong, or that it says nothing. */
export class ApiError extends Error {
  readonly status: number;
  readonly problem: Schemas["Problem"] | undefined;

  constructor(status: number, problem: Schemas["Problem"] | undefined) {
    super(problem?.detail ?? problem?.title ?? `status ${String(status)}`);
    this.status = status;
    this.problem = problem;
  }

  /** The part of its type that is ours: `step-up-required`, `not-found`. */
  get kind(): string {
    return this.problem?.type.split(":").at(-1) ?? "unknown";
  }
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The answer, or an `ApiError`. */
export async function ask<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answer;
  if (!response.ok) throw new ApiError(response.status, error as Schemas["Problem"] | undefined);
  return data as T;
}
