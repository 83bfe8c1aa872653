import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vitest/config'

const daemon = process.env.MODEL_RUNNER_HOST ?? 'http://127.0.0.1:12434'

export default defineConfig({
  base: '/ui/',
  plugins: [svelte()],
  build: {
    outDir: '../src/modelrunner/server/ui',
    emptyOutDir: true,
    target: 'es2022',
    // The policy of the daemon lets nothing run that is written into a page, data: addresses of fonts included.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: { '^/(?!ui/)': { target: daemon, changeOrigin: true } } },
  resolve: process.env.VITEST ? { conditions: ['browser'] } : undefined,
  test: { environment: 'node', include: ['src/**/*.test.ts'] },
})
