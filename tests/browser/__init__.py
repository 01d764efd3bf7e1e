"""The pages as people use them: Debian's Chromium, driven by Playwright."""
