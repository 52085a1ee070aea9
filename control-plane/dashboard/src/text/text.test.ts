import { createTranslator } from "use-intl/core";
import { expect, test } from "vitest";
import { en } from "./en";
import { fr } from "./fr";
import { bestLanguage, variety } from "./text";

/** Every message with its name. */
function flat(messages: object, above = ""): [string, string][] {
  return Object.entries(messages).flatMap(([name, message]) =>
    typeof message === "string" ? [[`${above}${name}`, message]] : flat(message as object, `${above}${name}.`),
  );
}

const holes = (message: string) => [...message.matchAll(/\{(\w+)[,}]/g)].map((match) => match[1] ?? "").sort();

test("every message has the same holes in every language, and none is empty", () => {
  const french = new Map(flat(fr));
  for (const [name, message] of flat(en)) {
    const other = french.get(name) ?? "";
    expect(other.trim(), name).not.toBe("");
    expect(new Set(holes(other)), name).toEqual(new Set(holes(message)));
  }
});

test("every message is understood by what formats it", () => {
  for (const [locale, messages] of [
    ["en", en],
    ["fr", fr],
  ] as const) {
    const t = createTranslator({
      locale,
      messages,
      onError: (error) => {
        throw error;
      },
    });
    for (const [name, message] of flat(messages)) {
      const values: Record<string, number> = Object.fromEntries(holes(message).map((hole) => [hole, 2]));
      expect((t as unknown as (name: string, values: object) => string)(name, values), name).not.toBe("");
    }
  }
});

test("a person gets the first language that there is", () => {
  expect(bestLanguage(["de-DE", "fr-CA", "en"])).toBe("fr");
  expect(bestLanguage(["de"])).toBe("en");
  expect(bestLanguage([])).toBe("en");
  expect(variety("en", ["fr", "en-GB"])).toBe("en-GB");
  expect(variety("fr", ["en"])).toBe("fr");
});
