// Builds the dashboard into files that saveos-server carries, each also squeezed by Brotli, and refuses a first screen that is too heavy.
import react from "@vitejs/plugin-react";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/** JavaScript that the first screen may load, in bytes after gzip. */
const FIRST_SCREEN = 250 * 1024;

function squeezed(): Plugin {
  return {
    name: "squeezed",
    apply: "build",
    closeBundle() {
      const folder = join(import.meta.dirname, "dist/assets");
      for (const name of readdirSync(folder).filter((name) => /\.(js|css|svg)$/.test(name))) {
        writeFileSync(join(folder, `${name}.br`), brotliCompressSync(readFileSync(join(folder, name))));
      }
    },
  };
}

/** Entry, what it imports, and the first screen with its imports: what a browser has read before a person sees anything. */
function light(): Plugin {
  return {
    name: "light",
    apply: "build",
    generateBundle(_, bundle) {
      const first = new Set<string>();
      const walk = (name: string) => {
        const chunk = bundle[name];
        if (chunk?.type !== "chunk" || first.has(name)) return;
        first.add(name);
        chunk.imports.forEach(walk);
      };
      for (const chunk of Object.values(bundle)) {
        if (chunk.type !== "chunk") continue;
        if (chunk.isEntry || chunk.facadeModuleId?.endsWith("src/protection/protection.tsx")) walk(chunk.fileName);
      }
      let bytes = 0;
      for (const name of first) {
        const chunk = bundle[name];
        if (chunk?.type === "chunk") bytes += gzipSync(chunk.code).length;
      }
      this.info(`the first screen loads ${String(Math.ceil(bytes / 1024))} KiB of JavaScript after gzip`);
      if (bytes > FIRST_SCREEN) this.error(`the first screen is too heavy: ${String(bytes)} bytes after gzip`);
    },
  };
}

export default defineConfig({
  plugins: [react(), light(), squeezed()],
  // No file becomes part of another one: the policy of the page allows files of this server only.
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2023", reportCompressedSize: false },
});
