// Tags as a person types them: words with commas between them. Pure.
export function readTags(typed: string): string[] {
  return [...new Set(typed.split(",").map((tag) => tag.trim()))].filter((tag) => tag !== "");
}
