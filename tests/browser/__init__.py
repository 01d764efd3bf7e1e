"""The pages as people meet them: Debian's Chromium, driven by Playwright."""
