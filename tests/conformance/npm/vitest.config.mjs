import { defineConfig } from "vitest/config";

// The suite's own limit, and no second chances.
export default defineConfig({
  test: { include: ["*.test.mjs"], testTimeout: 5000, retry: 0 },
});
